"""The comparison of two studies, printed on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launcher.scaling.analysis.comparison import ComparedSize, Comparison
from launcher.scaling.analysis.sizes import size_name
from launcher.scaling.report.wording import estimate
from launcher.text.plain_text import plain


def show_comparison(comparison: Comparison, before: str, after: str, screen: Console) -> None:
    """Print a table of the common sizes, then what changed in a step, then the warnings.

    Args:
        comparison: the comparison of two studies.
        before: name of the first study.
        after: name of the second study.
        screen: where it is printed.
    """
    if comparison.sizes:
        screen.print(_table(comparison, before, after))
    else:
        screen.print("No size was measured in both studies.")
    for size in comparison.sizes:
        for part in size.parts:
            _say(screen, f"{_name(size)}: {part}")
    for size in comparison.sizes:
        for difference in size.not_comparable:
            _say(screen, f"warning: {_name(size)}: {difference}")
    for warning in comparison.not_comparable:
        _say(screen, f"warning: {warning}")
    for study, missing in ((before, comparison.only_before), (after, comparison.only_after)):
        if missing:
            _say(screen, f"only in {study}: {'; '.join(missing)}")
    if comparison.by_chance:
        _say(screen, comparison.by_chance)


def _table(comparison: Comparison, before: str, after: str) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        caption="samples/s of all ranks, with 95 % intervals in parentheses",
        caption_justify="left",
    )
    table.add_column("size")
    for heading in (before, after, "ratio"):
        table.add_column(escape(plain(heading)), justify="right")
    table.add_column("verdict")
    for size in comparison.sizes:
        figures = (estimate(each) for each in (size.before, size.after, size.ratio))
        table.add_row(_name(size), *figures, escape(plain(size.verdict)))
    return table


def _name(size: ComparedSize) -> str:
    return f"{size.mode}, {size_name(size)}"


def _say(screen: Console, text: str) -> None:
    screen.print(escape(plain(text)), soft_wrap=True)
