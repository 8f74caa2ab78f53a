"""What "best" means in a run: which loss is watched, and in which direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptycho_dist.config.run import RunConfig


@dataclass(frozen=True)
class Monitor:
    """The loss that decides about best checkpoints, early stopping and step sizes."""

    split: Literal["train", "val"]
    loss: str
    """`poisson`, `mae`, `realspace`, or `mixed` where several are weighed."""
    mode: Literal["min", "max"]

    @property
    def name(self) -> str:
        """The metric by its own name: `poisson_val_loss`."""
        return f"{self.loss}_{self.split}_loss"


def loss_of(config: RunConfig) -> str:
    """The name of the loss that the weights make."""
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
    """What `checkpoint_monitor_metric` and `checkpoint_mode` mean in this run.

    `val_loss` is another name for the loss by its own name; without validation data the train loss
    stands in for it (EC-050, EC-051).
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
    """Why the metric's name is none of this run; empty: it is one."""
    metric = config.execution.checkpoint_monitor_metric
    loss = loss_of(config)
    if metric.removesuffix("train_loss").removesuffix("val_loss") in {"", f"{loss}_"}:
        return ""
    return f"{metric}, but this run has val_loss, train_loss, {loss}_val_loss and {loss}_train_loss"
