"""The table of figures, `metrics/metrics.csv`, with exactly one row per finished epoch."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ptycho_dist.rundir.files import write_bytes_atomic

COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "val_loss",
    "learning_rate",
    "samples",
    "seconds",
    "patterns_per_s",
)
Row = dict[str, float | int | None]


def write_metrics(path: Path, rows: list[Row]) -> None:
    """Replace the table by these rows.

    The rows come from the checkpoint, so that those that a killed attempt wrote after its last
    checkpoint disappear.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes_atomic(path, text.getvalue().encode())
