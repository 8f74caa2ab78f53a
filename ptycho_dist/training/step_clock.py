"""The clock of each rank's training: the actions of Lightning's loops become phases of steps.

It is always on, and costs a few microseconds per step (benchmarks/step_clock_cost.py).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import torch
from lightning.pytorch.profilers import Profiler
from torch.nn.parallel import DistributedDataParallel

from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.step_times import Block, TimesWriter, block_record
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.runtime.start_up import this_machine
from ptycho_dist.training.device_clock import device_clock
from ptycho_dist.training.timeline import Timeline

FETCH = "[_TrainingEpochLoop].train_dataloader_next"
_PHASE_OF_ACTION = {
    "train_dataloader_next": "data",
    "batch_to_device": "data",
    "training_step": "forward_backward",
    "backward": "forward_backward",
    "optimizer_step": "optimizer",
    "save_checkpoint": "checkpoint",
}
"""The phase of an action, by the last part of the name that Lightning gives it.

Other actions belong to the phase in which they happen. The optimizer step calls forward and
backward, whose time is their own.
"""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class StepClock(Profiler):
    """A profiler: Lightning calls `start` and `stop`, with a name, around each of its actions."""

    def __init__(self, run: RunDirectory, rank: JoinedRank, threads: int) -> None:
        """Open the file of step times of this rank.

        Args:
            run: where the times are written.
            rank: this rank.
            threads: intra-op threads of torch, which are recorded.
        """
        super().__init__()
        self._rank = rank
        self._threads = threads
        self._timeline = Timeline(device_clock(rank.device.torch))
        self._writer = TimesWriter(run, rank.joined.attempt.number, rank.rank)
        self._phase_of: dict[str, str | None] = {}
        self._step = 0
        self._waits_for_first = False
        self._introduced = False
        self._utilisation = _Utilisation(rank.device.torch)

    # --- what Lightning calls --------------------------------------------------------------------

    def start(self, action_name: str) -> None:
        """Note that an action begins."""
        try:
            phase = self._phase_of[action_name]
        except KeyError:
            phase = _PHASE_OF_ACTION.get(action_name.rpartition(".")[2])
            self._phase_of[action_name] = phase
        if phase is None:
            return
        if action_name == FETCH:
            self._timeline.step_begins()
            if self._waits_for_first:
                self._rank.start_up.spent("opening")
        self._timeline.enter(phase)

    def stop(self, action_name: str) -> None:
        """Note that the same action ends."""
        if self._phase_of.get(action_name) is None:
            return
        self._timeline.leave()
        if self._waits_for_first and action_name == FETCH:
            self._rank.start_up.spent("first_batch")
            self._starts()

    # --- what the run calls ----------------------------------------------------------------------

    def begin(self, step: int) -> None:
        """Note the optimizer step at which training begins.

        Time counts from the first batch on, or from the validation with which a resume begins.
        """
        self._step = step
        self._waits_for_first = True

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the `with` block as this phase."""
        self._timeline.enter(name)
        try:
            yield
        finally:
            self._timeline.leave()

    def timed(
        self, phase: str, function: Callable[Arguments, Result]
    ) -> Callable[Arguments, Result]:
        """Return the function, changed so that its time counts as this phase."""

        def of_phase(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            if self._waits_for_first and phase == "validation":
                self._rank.start_up.spent("opening")
                self._starts()
            with self.phase(phase):
                return function(*arguments, **options)

        return of_phase

    def watch_gradients(self, last: torch.nn.Parameter, model: DistributedDataParallel) -> None:
        """Count the rest of the backward pass as reduction, once the last gradient is ready.

        A micro-batch that only accumulates has no reduction. Unlike a communication hook of DDP,
        the hook on the gradient neither reads nor changes anything.

        Args:
            last: the parameter that gets its gradient last.
            model: knows whether this backward pass reduces.
        """

        def ready(_: torch.Tensor) -> None:
            if model.require_backward_grad_sync:
                self._timeline.turn("forward_backward", "reduction")

        last.register_post_accumulate_grad_hook(ready)

    def used(self, samples: int) -> None:
        """Count samples that this rank has used."""
        self._timeline.used(samples)

    def step_done(self) -> None:
        """Count an optimizer step."""
        self._timeline.step_done()

    def flush(self) -> None:
        """Write what is known by now; a full disk does not stop the training."""
        self._utilisation.sample()
        self._write(self._timeline.take())

    def end(self) -> None:
        """Write the rest when training is over, however it ended."""
        with suppress(RuntimeError):  # raised by a device that has failed
            self._timeline.end()
        self._write(self._timeline.take(), at_end=True)

    def _starts(self) -> None:
        self._waits_for_first = False
        self._timeline.begin(self._step)

    def _write(self, blocks: list[Block], *, at_end: bool = False) -> None:
        if not blocks and not at_end:
            return
        records = [] if self._introduced else [self._introduction()]
        self._introduced = True
        records += [block_record(block) for block in blocks]
        device = self._rank.device.torch
        records.append(
            {
                "kind": "usage",
                "host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "device_peak_bytes": (
                    torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
                ),
                "gpu_utilisation": self._utilisation.mean,
            }
        )
        self._writer.put(records)

    def _introduction(self) -> dict[str, Any]:
        start_up = self._rank.start_up
        return {
            "kind": "rank",
            "time": time.time(),
            "rank": self._rank.rank,
            "node": self._rank.environment.node,
            "machine": this_machine(),
            "cores": os.cpu_count() or 0,
            "threads": self._threads,
            "device": self._rank.device.kind,
            "started_at": round(start_up.started_at, 3),
            "start_up_s": {part: round(s, 4) for part, s in start_up.seconds.items()},
        }


class _Utilisation:
    """The utilisation that the GPU reports, if torch finds the bindings of NVML."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._available = device.type == "cuda"
        self._sum, self._count = 0.0, 0

    def sample(self) -> None:
        """Ask the GPU now; after one failure it is not asked again."""
        if not self._available:
            return
        try:
            self._sum += torch.cuda.utilization(self._device) / 100  # it gives percent
            self._count += 1
        except Exception:  # the bindings of NVML may be missing, or of any version
            self._available = False

    @property
    def mean(self) -> float | None:
        """Mean of the samples, 0 to 1; None: there are none."""
        return round(self._sum / self._count, 4) if self._count else None
