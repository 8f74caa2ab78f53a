"""The monitored loss: what "best" means in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptycho_dist.config.run import RunConfig


@dataclass(frozen=True)
class Monitor:
    """The loss that decides on best checkpoints, early stopping and the learning rate."""

    split: Literal["train", "val"]
    """Data on which it is computed."""
    loss: str
    """`poisson`, `mae`, `realspace`, or `mixed` when several terms have weights."""
    mode: Literal["min", "max"]
    """Which value is best."""

    @property
    def name(self) -> str:
        """The full name of the metric, such as `poisson_val_loss`."""
        return f"{self.loss}_{self.split}_loss"


def loss_of(config: RunConfig) -> str:
    """Return the name of the loss that follows from the weights."""
    training = config.training
    names = [
        name
        for name, weight in (
            ("poisson", training.nll_weight),
            ("mae", training.mae_weight),
            ("realspace", training.realspace_weight or training.realspace_mae_weight),
        )
        if weight
    ]
    return names[0] if len(names) == 1 else "mixed"


def monitor_of(config: RunConfig) -> Monitor:
    """Resolve `checkpoint_monitor_metric` and `checkpoint_mode` for a run.

    `val_loss` stands for the full name of the loss. Without validation data the training loss is
    used instead (EC-050, EC-051).
    """
    execution = config.execution
    split: Literal["train", "val"] = "train"
    if (
        execution.checkpoint_monitor_metric.endswith("val_loss")
        and config.data.test_data_file is not None
    ):
        split = "val"
    return Monitor(split, loss_of(config), execution.checkpoint_mode)


def unknown_metric(config: RunConfig) -> str:
    """Return why the run does not have the configured metric; empty: it has."""
    metric = config.execution.checkpoint_monitor_metric
    loss = loss_of(config)
    if metric.removesuffix("train_loss").removesuffix("val_loss") in {"", f"{loss}_"}:
        return ""
    return f"{metric}, but this run has val_loss, train_loss, {loss}_val_loss and {loss}_train_loss"
