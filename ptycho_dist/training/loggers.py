"""Where the figures of the epochs are written: a table, and TensorBoard or MLflow in addition."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ptycho_dist.config.logger_package import missing_logger_package
from ptycho_dist.errors import UserError
from ptycho_dist.training.metrics import COLUMNS, Row, write_metrics

Logger = Callable[[Sequence[Row]], None]
"""A function that takes the rows of all finished epochs and writes those that are new."""

_FIGURES = tuple(name for name in COLUMNS if name not in ("epoch", "step"))


def require_logger(backend: str) -> None:
    """Check, before anything is trained, that the package of a logger is installed.

    Raises:
        UserError: the package is not installed.
    """
    missing = missing_logger_package(backend)
    if missing:
        raise UserError(f"execution.logger_backend: {missing}")


def open_logger(backend: str, folder: Path) -> Logger:
    """Open the logger of a run, on rank 0; each attempt does so again and passes it all rows.

    Rows that a killed attempt wrote and did not commit are removed if the backend can do so. Rows
    that it committed and did not write are written now.

    Args:
        backend: `csv`, `tensorboard`, `mlflow` or `none`.
        folder: `metrics/` of the run directory; nothing is written elsewhere or sent anywhere.
    """
    if backend == "none":
        return lambda rows: None

    def table(rows: Sequence[Row]) -> None:
        write_metrics(folder / "metrics.csv", list(rows))

    if backend == "csv":
        return table
    also = (_tensorboard if backend == "tensorboard" else _mlflow)(folder)

    def both(rows: Sequence[Row]) -> None:
        table(rows)
        also(rows)

    return both


def _tensorboard(folder: Path) -> Logger:
    from torch.utils.tensorboard import SummaryWriter

    # purge_step=0: readers drop all points of earlier attempts; the rows hold those that count
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=0)
    written = 0

    def write(rows: Sequence[Row]) -> None:
        nonlocal written
        for row in rows[written:]:
            for name in _FIGURES:
                value = row.get(name)
                if value is not None:
                    writer.add_scalar(name, value, int(row["step"] or 0))
        written = len(rows)
        writer.flush()

    return write


def _mlflow(folder: Path) -> Logger:
    # Newer versions want a database, which needs SQL packages; plain files are enough for one run.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    run_name = folder.parent.name
    client = MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    found = client.get_experiment_by_name("ptycho-dist")
    experiment = found.experiment_id if found else client.create_experiment("ptycho-dist")
    known = client.search_runs([experiment])
    run_id = (known[0] if known else client.create_run(experiment, run_name=run_name)).info.run_id
    written = {  # points cannot be removed, and a kill may have come between two of one epoch
        name: {point.step for point in client.get_metric_history(run_id, name)} for name in _FIGURES
    }

    def write(rows: Sequence[Row]) -> None:
        for row in rows:
            step = int(row["step"] or 0)
            for name in _FIGURES:
                value = row.get(name)
                if value is not None and step not in written[name]:
                    client.log_metric(run_id, name, float(value), step=step)
                    written[name].add(step)

    return write
