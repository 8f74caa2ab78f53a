"""One row of figures per epoch, in `metrics/metrics.csv`: none missing, none twice."""

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
    """Write all rows anew, as a whole.

    The rows come from the checkpoint's lineage, so that what a killed attempt wrote after its
    last checkpoint disappears when the epoch is done again.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes_atomic(path, text.getvalue().encode())
