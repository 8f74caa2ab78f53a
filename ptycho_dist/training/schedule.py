"""The step size over a run: a pure function of the optimizer step, or of how the loss has gone.

| scheduler | factor of learning_rate |
| --- | --- |
| Default | 1 |
| Exponential | 0.95 to the power of the epoch |
| MultiStage | 1, 0.3 and 0.1 in the first, second and last third of the epochs |
| WarmupCosine | up linearly over the first 5 % of the steps, then half a cosine to 0 |
| Adaptive | halved when the monitored loss has not fallen for 3 epochs |
| ReduceLROnPlateau | a tenth when the monitored loss has not fallen for 10 epochs |

Epochs and steps are counted over the whole run, across interruptions, and steps are optimizer
steps: accumulation does not bend the curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_EXPONENTIAL = 0.95
_STAGES = (1.0, 0.3, 0.1)
_WARM_UP = 0.05  # of all steps
_PLATEAUS = {"Adaptive": (0.5, 3), "ReduceLROnPlateau": (0.1, 10)}
_LEAST_CHANGE = 1e-4  # relative, as that of torch's ReduceLROnPlateau


def step_factor(scheduler: str, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The factor in optimizer step `step`, counted from 0; 1 for those that watch the loss.

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
    """Counts epochs in a row without a better value. Its state is plain and goes into checkpoints;
    all ranks see the same value and decide alike."""

    epochs: int
    mode: Literal["min", "max"] = "min"
    best: float = math.inf
    """Infinite: nothing was seen yet."""
    without: int = 0

    def watch(self, value: float) -> None:
        """Take the value of an epoch; less than 1e-4 of the best is no improvement, NaN is none."""
        if math.isnan(value):  # as the first value it would stay the best for ever
            self.without += 1
            return
        gain = self.best - value if self.mode == "min" else value - self.best
        if math.isinf(self.best) or gain > _LEAST_CHANGE * abs(self.best):
            self.best, self.without = value, 0
        else:
            self.without += 1

    @property
    def exhausted(self) -> bool:
        """Whether that many epochs have passed in vain."""
        return self.without >= self.epochs

    def state_dict(self) -> dict[str, float]:
        """Plain values."""
        return {"best": self.best, "without": self.without}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up where a checkpoint left off."""
        self.best, self.without = float(state["best"]), int(state["without"])


class Plateau:
    """Lowers the step size when what is watched gets no better; 1 for the other schedules."""

    def __init__(self, scheduler: str, mode: Literal["min", "max"] = "min") -> None:
        self._times, epochs = _PLATEAUS.get(scheduler, (1.0, 0))
        self._patience = Patience(epochs, mode)
        self.factor = 1.0

    def watch(self, value: float) -> bool:
        """Take the value of an epoch; whether `factor` has become smaller."""
        if not self._patience.epochs:
            return False
        self._patience.watch(value)
        if not self._patience.exhausted:
            return False
        self.factor *= self._times
        self._patience.without = 0
        return True

    def state_dict(self) -> dict[str, float]:
        """Plain values."""
        return {"factor": self.factor, **self._patience.state_dict()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up where a checkpoint left off."""
        self.factor = float(state["factor"])
        self._patience.load_state_dict(state)
