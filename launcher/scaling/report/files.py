"""The data files of a study's report: CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from launcher.scaling.analysis.results import Collected, StudyAnalysis
from launcher.scaling.report.provenance import StudyProvenance
from launcher.timing.attribution import PARTS
from launcher.timing.start_up import STAGES
from ptycho_dist.rundir.files import json_bytes

FORMAT = 1
_STEERS = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet take a cell for a formula."""


def report_data(
    collected: Collected, analysis: StudyAnalysis, origin: StudyProvenance
) -> dict[str, Any]:
    """The content of study-report.json; figures that are not finite are null."""
    data = {
        "format": FORMAT,
        "study": {**asdict(collected.study), "command": origin.command},
        "analysis": analysis.to_json(),
        "runs": {
            "measured": [
                {
                    **asdict(each),
                    "samples_per_s": each.attribution.samples_per_s,
                    "oversubscribed": each.oversubscribed,
                }
                for each in collected.measured
            ],
            "missing": [asdict(each) for each in collected.missing],
        },
        "provenance": origin.to_json(),
    }
    plain: dict[str, Any] = finite_or_null(data)
    return plain


def report_json(data: Mapping[str, Any]) -> bytes:
    """The bytes of study-report.json."""
    return json_bytes(data)


def sizes_csv(analysis: StudyAnalysis) -> bytes:
    """sizes.csv: one line per size of each series, with units in the column names."""
    rows = []
    for series in analysis.series:
        for size in series.sizes:
            rows.append(
                {
                    "mode": series.mode,
                    "tasks_per_node": size.tasks_per_node,
                    "nodes": size.nodes,
                    "ranks": size.ranks,
                    "runs": size.repeats,
                    **_with_interval("throughput_samples_per_s", size.throughput),
                    **_with_interval("step_s", size.step_s),
                    **_with_interval("speedup", size.speedup),
                    **_with_interval("efficiency", size.efficiency),
                    **{f"{part}_s_per_step": size.parts_s.get(part) for part in PARTS},
                    **{f"start_up_{stage}_s": size.start_up_s.get(stage) for stage in STAGES},
                    "time_to_solution_s": size.time_to_solution_s,
                    "time_to_solution_runs": size.time_to_solution_runs,
                    "goodput": size.goodput,
                    "host_peak_bytes": size.host_peak_bytes,
                    "device_peak_bytes": size.device_peak_bytes,
                    "gpu_utilisation": size.gpu_utilisation,
                    "oversubscribed": size.oversubscribed,
                }
            )
    return _csv(rows)


def runs_csv(collected: Collected) -> bytes:
    """runs.csv: one line per run with a measurement, in the order in which they ran."""
    rows = []
    for each in sorted(collected.measured, key=lambda measured: measured.point.index):
        point, parts = each.point, each.attribution
        rows.append(
            {
                "run": each.run_id,
                "modes": " ".join(point.modes),
                "nodes": point.nodes,
                "tasks_per_node": point.tasks_per_node,
                "ranks": point.ranks,
                "repeat": point.repeat,
                "order": point.index,
                "batch_per_rank_samples": point.batch_size,
                "global_batch_samples": point.global_batch,
                "learning_rate": point.learning_rate,
                "started_at_unix_s": each.started_at,
                "steps": parts.steps,
                "samples": parts.samples,
                "wall_s": parts.wall_s,
                "throughput_samples_per_s": parts.samples_per_s,
                **{f"{part}_s": parts.parts_s.get(part) for part in PARTS},
                **{f"start_up_{stage}_s": each.start_up_s.get(stage) for stage in STAGES},
                "job_s": each.job_s,
                "goodput": each.goodput,
                "attempts": each.attempts,
                "time_to_solution_s": each.time_to_solution_s,
                "loss": each.loss,
                "host_peak_bytes": each.host_peak_bytes,
                "device_peak_bytes": each.device_peak_bytes,
                "gpu_utilisation": each.gpu_utilisation,
                "machines": each.machines,
                "cores": each.cores,
                "threads": each.threads,
                "device": each.device,
                "node_names": " ".join(each.nodes),
                "oversubscribed": each.oversubscribed,
            }
        )
    return _csv(rows)


def _with_interval(name: str, found: Any) -> dict[str, float]:
    return {
        name: found.value,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    written = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
    return written.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, str):
        text = "".join(letter if letter.isprintable() else " " for letter in value)
        return f"'{text}" if value.startswith(_STEERS) or text.startswith(_STEERS) else text
    return value


def finite_or_null(data: Any) -> Any:
    """Plain data for JSON, in which numbers that are not finite are None."""
    if isinstance(data, dict):
        return {str(name): finite_or_null(each) for name, each in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite_or_null(each) for each in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
