"""Shows the result of a finished run as text for people."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory


def show_result(run: RunDirectory, console: Console) -> None:
    """Show the metrics and scores of a finished run, and where its files are."""
    rows = read_metrics(run.metrics / "metrics.csv")
    if rows:
        table = Table(box=None, pad_edge=False)
        names = [name for name in rows[-1] if rows[-1][name]]
        for name in names:
            table.add_column(name.replace("_", " "), justify="right")
        shown = rows if len(rows) <= 6 else [*rows[:3], {}, *rows[-2:]]
        for row in shown:
            table.add_row(*([_short(row[name]) for name in names] if row else ["…"] * len(names)))
        console.print(table)
    places = [
        ("metrics", run.metrics / "metrics.csv"),
        ("checkpoints", run.checkpoints),
        ("logs", run.logs),
    ]
    if run.reconstruction_metrics.is_file():
        show_scores(read_json(run.reconstruction_metrics), console)
        places[:0] = [("picture", run.picture), ("object", run.object_file)]
    for label, path in places:
        console.print(escape(f"{label:>12}: {_from_here(path)}"), highlight=False, soft_wrap=True)


def show_scores(metrics: dict[str, Any], console: Console) -> None:
    """Show the scores of the reconstruction beside those of the flat guess."""
    table = Table(box=None, pad_edge=False)
    for heading in ("reconstruction", "found", "flat guess"):
        table.add_column(heading, justify="left" if heading == "reconstruction" else "right")
    for name, value in metrics["reconstruction"].items():
        flat = metrics["flat_guess"].get(name)
        table.add_row(name.replace("_", " "), *(_score(each) for each in (value, flat)))
    console.print(table)


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv; empty before the first epoch is done."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _short(text: str) -> str:
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def _from_here(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
