"""Who keeps the figures of the epochs: the table alone, or TensorBoard or MLflow beside it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ptycho_dist.errors import UserError
from ptycho_dist.training.metrics import Row, write_metrics

Logger = Callable[[Sequence[Row]], None]
"""Takes the rows of all finished epochs, and writes what it has not written yet."""

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
_NO_FIGURE = ("epoch", "step")


def require_logger(backend: str) -> None:
    """Check, before anything is trained, that the package of a logger is there.

    Raises:
        UserError: it is not.
    """
    package = _PACKAGES.get(backend)
    if package is not None and importlib.util.find_spec(package) is None:
        raise UserError(
            f"execution.logger_backend: {backend} needs the package {package}, which is not "
            f"installed in the ranks' environment: pip install {package}, or use csv"
        )


def open_logger(backend: str, folder: Path, committed: Sequence[Row]) -> Logger:
    """The logger of a run, for rank 0.

    Args:
        backend: `csv`, `tensorboard`, `mlflow` or `none`.
        folder: `metrics/` of the run directory; nothing is written elsewhere, or sent anywhere.
        committed: rows of the lineage that is resumed. What a killed attempt wrote beyond them
            is taken back where the backend can.
    """
    if backend == "none":
        return lambda rows: None
    table: Logger = lambda rows: write_metrics(folder / "metrics.csv", list(rows))  # noqa: E731
    if backend == "csv":
        return table
    opened = _tensorboard if backend == "tensorboard" else _mlflow
    also = opened(folder, committed)

    def both(rows: Sequence[Row]) -> None:
        table(rows)
        also(rows)

    return both


def _tensorboard(folder: Path, committed: Sequence[Row]) -> Logger:
    from torch.utils.tensorboard import SummaryWriter

    next_step = int(committed[-1]["step"] or 0) + 1 if committed else 0
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=next_step)
    written = len(committed)

    def write(rows: Sequence[Row]) -> None:
        nonlocal written
        for row in rows[written:]:
            for name, value in row.items():
                if name not in _NO_FIGURE and value is not None:
                    writer.add_scalar(name, value, int(row["step"] or 0))
        written = len(rows)
        writer.flush()

    return write


def _mlflow(folder: Path, committed: Sequence[Row]) -> Logger:
    # newer versions ask for a database, which takes SQL packages; the files serve one run well
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    run_name = folder.parent.name
    client = MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    found = client.get_experiment_by_name("ptycho-dist")
    experiment = found.experiment_id if found else client.create_experiment("ptycho-dist")
    known = client.search_runs([experiment])
    run_id = (known[0] if known else client.create_run(experiment, run_name=run_name)).info.run_id
    written = len(client.get_metric_history(run_id, "train_loss"))  # a point is never taken back

    def write(rows: Sequence[Row]) -> None:
        nonlocal written
        for row in rows[written:]:
            for name, value in row.items():
                if name not in _NO_FIGURE and value is not None:
                    client.log_metric(run_id, name, float(value), step=int(row["step"] or 0))
        written = max(written, len(rows))

    return write
