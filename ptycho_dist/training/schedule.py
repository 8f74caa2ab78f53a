"""The learning rate over a run: a pure function of the optimizer step, or of the losses so far.

| scheduler | factor of learning_rate |
| --- | --- |
| Default | 1 |
| Exponential | 0.95 to the power of the epoch |
| MultiStage | 1, 0.3 and 0.1 in the first, second and last third of the epochs |
| WarmupCosine | up linearly over the first 5 % of the steps, then half a cosine to 0 |
| Adaptive | halved when the monitored loss has not fallen for 3 epochs |
| ReduceLROnPlateau | a tenth when the monitored loss has not fallen for 10 epochs |

Epochs and steps are counted over the whole run, across interruptions. Steps are optimizer steps, so
that accumulation does not change the curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_EXPONENTIAL = 0.95
_STAGES = (1.0, 0.3, 0.1)
_WARM_UP = 0.05  # fraction of all steps
_PLATEAUS = {"Adaptive": (0.5, 3), "ReduceLROnPlateau": (0.1, 10)}
_LEAST_CHANGE = 1e-4  # relative, as in torch's ReduceLROnPlateau


def step_factor(scheduler: str, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor in step `step`, counted from 0; 1 if the schedule watches the loss.

    Sources: warm-up of Goyal et al., arXiv:1706.02677; cosine of Loshchilov & Hutter, ICLR 2017.
    """
    epoch = step // steps_per_epoch
    if scheduler == "Exponential":
        return float(_EXPONENTIAL**epoch)
    if scheduler == "MultiStage":
        return _STAGES[min(epoch * len(_STAGES) // epochs, len(_STAGES) - 1)]
    if scheduler == "WarmupCosine":
        total = steps_per_epoch * epochs
        warm_up = max(1, round(_WARM_UP * total))
        if step < warm_up:
            return (step + 1) / warm_up
        part = (step - warm_up) / max(1, total - warm_up)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
    return 1.0


@dataclass
class Patience:
    """Counts epochs in a row without a better value.

    Its state is part of each checkpoint. All ranks see the same value and decide alike.
    """

    epochs: int
    """Number of epochs without a better value after which patience is exhausted."""
    mode: Literal["min", "max"] = "min"
    """Whether a smaller or a larger value is better."""
    best: float = math.inf
    """The best value so far; infinite: there was none yet."""
    without: int = 0
    """Number of epochs since the best one."""

    def watch(self, value: float) -> None:
        """Take the value of an epoch; a gain below 1e-4 of the best, or NaN, is no improvement."""
        if math.isnan(value):  # as the first value it would remain the best forever
            self.without += 1
            return
        gain = self.best - value if self.mode == "min" else value - self.best
        if math.isinf(self.best) or gain > _LEAST_CHANGE * abs(self.best):
            self.best, self.without = value, 0
        else:
            self.without += 1

    @property
    def exhausted(self) -> bool:
        """Whether `epochs` epochs in a row have brought no better value."""
        return self.without >= self.epochs

    def state_dict(self) -> dict[str, float]:
        """Return the state as plain values."""
        return {"best": self.best, "without": self.without}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.without = float(state["best"]), int(state["without"])


class Plateau:
    """Lowers the learning rate when the monitored value stops getting better.

    The factor remains 1 for schedules that do not watch the loss.
    """

    def __init__(self, scheduler: str, mode: Literal["min", "max"] = "min") -> None:
        """Begin with factor 1.

        Args:
            scheduler: `execution.scheduler`.
            mode: whether a smaller or a larger value is better.
        """
        self._times, epochs = _PLATEAUS.get(scheduler, (1.0, 0))
        self._patience = Patience(epochs, mode)
        self.factor = 1.0

    def watch(self, value: float) -> bool:
        """Take the value of an epoch; return whether `factor` has become smaller."""
        if not self._patience.epochs:
            return False
        self._patience.watch(value)
        if not self._patience.exhausted:
            return False
        self.factor *= self._times
        self._patience.without = 0
        return True

    def state_dict(self) -> dict[str, float]:
        """Return the state as plain values."""
        return {"factor": self.factor, **self._patience.state_dict()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.factor = float(state["factor"])
        self._patience.load_state_dict(state)
