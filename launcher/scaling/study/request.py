"""The request for a study, parsed from the flags of the command with all faults at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from launcher.scaling.study.definition import (
    MOST_LANES,
    MOST_NODES,
    MOST_REPEATS,
    MOST_TASKS,
    LrRule,
    Mode,
)
from ptycho_dist.config.faults import Fault
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.measurement_plan import MOST, MeasurementPlan, Until

REPEATS, STEPS, WARM_UP = 5, 30, 5
"""Defaults. Five repeats, because MLPerf HPC drops the fastest and the slowest of five runs."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """A grid of sizes, how each is measured, and how the runs are submitted."""

    modes: tuple[Mode, ...]
    nodes: tuple[int, ...]
    tasks_per_node: tuple[int, ...] | None
    """None: the value in the config."""
    repeats: int
    seed: int
    lr_rule: LrRule
    measurement: MeasurementPlan
    at_once: int
    """Number of points that may run at the same time."""

    def words(self) -> tuple[str, ...]:
        """The flags that make the same request."""
        flags = {"--nodes": _listed(self.nodes)}
        if self.tasks_per_node is not None:
            flags["--tasks-per-node"] = _listed(self.tasks_per_node)
        flags |= {
            "--mode": ",".join(self.modes),
            "--repeats": str(self.repeats),
            f"--{self.measurement.until.replace('_', '-')}": f"{self.measurement.value:.15g}",
            "--warm-up": str(self.measurement.warm_up_steps),
            "--lr-rule": self.lr_rule,
            "--seed": str(self.seed),
            "--at-once": str(self.at_once),
        }
        return tuple(word for flag in flags.items() for word in flag)


def parse_request(
    *,
    nodes: str | None,
    tasks_per_node: str | None = None,
    mode: str | None = None,
    repeats: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    target_loss: float | None = None,
    warm_up: int | None = None,
    lr_rule: LrRule | None = None,
    seed: int | None = None,
    at_once: int | None = None,
    cluster: str = "slurm",
) -> StudyRequest:
    """Parse a request; the arguments are the flags of `ptycho-launch scale`, None where absent.

    Raises:
        UserError: the flags have faults; each has a line of its own in the message.
    """
    faults: list[Fault] = []
    all_nodes = _numbers("--nodes", nodes, MOST_NODES, faults)
    tasks = None
    if tasks_per_node is not None:
        tasks = _numbers("--tasks-per-node", tasks_per_node, MOST_TASKS, faults)
    request = StudyRequest(
        modes=_modes("strong" if mode is None else mode, faults),
        nodes=all_nodes,
        tasks_per_node=tasks,
        repeats=_within("--repeats", REPEATS if repeats is None else repeats, 1, MOST_REPEATS,
                        faults),
        seed=_within("--seed", seed or 0, 0, MOST, faults),
        lr_rule=lr_rule or "sqrt",
        measurement=_measurement(steps, seconds, target_loss, warm_up, faults),
        at_once=_within("--at-once", 1 if at_once is None else at_once, 1, MOST_LANES, faults),
    )  # fmt: skip
    if cluster == "local":
        faults += [
            Fault("--nodes", f"{each}, but the local cluster is a single machine; use --nodes 1 "
                  "with --tasks-per-node, or --cluster slurm")
            for each in request.nodes
            if each > 1
        ]  # fmt: skip
        if request.at_once > 1:
            faults.append(
                Fault("--at-once", f"{request.at_once}, but the local cluster runs the points one "
                      "after another; leave it out")
            )  # fmt: skip
    if faults:
        raise UserError("\n".join(map(str, faults)))
    return request


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _numbers(flag: str, text: str | None, most: int, faults: list[Fault]) -> tuple[int, ...]:
    if text is None:
        faults.append(Fault(flag, "missing; give the sizes, for example 1,2,4,8"))
        return ()
    found = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= len(part) <= 9 for part in found):
        faults.append(Fault(flag, f"{text[:80]}: whole numbers separated by commas are expected"))
        return ()
    numbers = [int(part) for part in found]
    wrong = [each for each in numbers if not 1 <= each <= most]
    if wrong:
        faults.append(Fault(flag, f"{wrong[0]}: a number from 1 to {most} is expected"))
    twice = next((each for each in numbers if numbers.count(each) > 1), None)
    if twice is not None:
        faults.append(Fault(flag, f"{twice} is given twice; use --repeats to repeat sizes"))
    return tuple(numbers)


def _modes(text: str, faults: list[Fault]) -> tuple[Mode, ...]:
    found = [part.strip() for part in text.split(",")]
    unknown = [part for part in found if part not in get_args(Mode)]
    if unknown or len(set(found)) < len(found):
        faults.append(Fault("--mode", f"{text[:80]}: strong, weak or strong,weak is expected"))
    return tuple(mode for mode in get_args(Mode) if mode in found)


def _within(flag: str, value: int, least: int, most: int, faults: list[Fault]) -> int:
    if not least <= value <= most:
        faults.append(Fault(flag, f"{value}: a number from {least} to {most} is expected"))
    return value


def _measurement(
    steps: int | None,
    seconds: float | None,
    target_loss: float | None,
    warm_up: int | None,
    faults: list[Fault],
) -> MeasurementPlan:
    given = [
        flag
        for flag, value in (
            ("--steps", steps), ("--seconds", seconds), ("--target-loss", target_loss)
        )
        if value is not None
    ]  # fmt: skip
    if len(given) > 1:
        faults.append(Fault(given[1], f"given together with {given[0]}; give one of them"))
    warm = _within("--warm-up", WARM_UP if warm_up is None else warm_up, 0, MOST, faults)
    until: Until = "steps"
    value = float(STEPS)
    if target_loss is not None:
        until, value = "target_loss", target_loss
        if not math.isfinite(target_loss):
            faults.append(Fault("--target-loss", f"{target_loss}: a finite number is expected"))
    elif seconds is not None:
        until, value = "seconds", seconds
        if not 0 < seconds <= MOST:
            faults.append(Fault("--seconds", f"{seconds}: more than 0, at most {MOST}"))
    elif steps is not None:
        value = float(_within("--steps", steps, 1, MOST, faults))
    if faults:  # the request is refused, whatever it measures
        return MeasurementPlan("steps", STEPS, WARM_UP)
    return MeasurementPlan(until, value, warm)
