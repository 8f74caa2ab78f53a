"""What the ranks do and note in a drill (`ptycho-launch drill`).

A rank sends itself real signals at chosen places, and writes a trace of everything that an
interruption must not change. It draws from the random generators in each micro-batch, as a random
layer would. Only a run whose plan.json has a `drill` does any of this.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ptycho_dist.rundir.drill_trace import FINAL, RESUMED, SIGNAL, STEP, STOPPED, trace_file
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.runtime.rng import rng_parts
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.stopping import StoppedOnRequest
from ptycho_dist.training.task import TrainingTask


class DrillCallback(Callback):
    """Interrupts this rank, and notes its state before and after.

    It is the first of the callbacks: it must interrupt before the run asks whether to stop.
    """

    def __init__(
        self,
        interruption: Mapping[str, Any] | None,
        trace: Path,
        rank: JoinedRank,
        data: PtychoData,
        run_state: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Open the trace.

        Args:
            interruption: what happens to this rank in this attempt; None: nothing.
            trace: the file in which to note what happens, in lines of JSON.
            rank: this rank.
            data: the data of the run.
            run_state: returns the state that the callback of the run keeps.
        """
        self._interruption = interruption
        self._rank = rank
        self._data = data
        self._run_state = run_state
        self._file = trace.open("a", encoding="utf-8")
        self._validates = False
        self._fresh = True  # nothing has changed in this attempt yet

    @classmethod
    def of(
        cls, task: TrainingTask, data: PtychoData, run_state: Callable[[], Mapping[str, Any]]
    ) -> DrillCallback | None:
        """Return the callback for the drill in the plan; None: the plan has no drill."""
        wanted = task.plan.drill
        if wanted is None:
            return None
        rank = task.rank
        number = rank.joined.attempt.number
        due = [
            each
            for each in wanted["interruptions"]
            if (each["attempt"], each["rank"]) == (number, rank.rank)
        ]
        path = trace_file(task.run, number, rank.rank)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return cls(due[0] if due else None, path, rank, data, run_state)

    # --- what Lightning calls ------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the state that was restored."""
        self._note_resumed(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the state that was restored, and interrupt if it is due."""
        self._note_resumed(trainer)
        self._interrupt_at("training", batch_idx)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the samples, the loss and random numbers of this micro-batch."""
        self._note(
            STEP,
            epoch=self._data.position.epoch,
            batch=batch_idx,
            order=batch["index_B"].tolist(),
            loss=float(outputs["loss"]).hex(),
            learning_rate=[float(g["lr"]).hex() for g in trainer.optimizers[0].param_groups],
            random=self._draw(),
        )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that a validation is to be done, and the state that was restored."""
        self._validates = True
        self._note_resumed(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the validation is done."""
        self._validates = False

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Interrupt if it is due."""
        self._interrupt_at("validation", batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Interrupt if it is due."""
        self._interrupt_at("epoch_end", 0)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Note the state at a stop."""
        if isinstance(exception, StoppedOnRequest):
            self._note(STOPPED, **self._state(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the state at the end."""
        self._note(FINAL, **self._state(trainer))

    # --- details ---------------------------------------------------------------------------------

    def _draw(self) -> list[float]:
        """Draw as a random layer would, more often on higher ranks, as with ragged shares."""
        for _ in range(self._rank.rank + 1):
            drawn = [random.random(), float(np.random.random()), float(torch.rand(()))]  # noqa: S311
        return drawn

    def _interrupt_at(self, place: str, batch: int) -> None:
        wanted = self._interruption
        if wanted is None:
            return
        here = (place, self._data.position.epoch, batch)
        if here == (wanted["place"], wanted["epoch"], wanted["batch"]):
            self._interruption = None
            self._note(SIGNAL, place=place, signal=wanted["signal"])
            os.kill(os.getpid(), signal.Signals[wanted["signal"]])

    def _note_resumed(self, trainer: Trainer) -> None:
        """Note the restored state, once, before this attempt has changed anything."""
        if self._fresh:
            self._note(RESUMED, **self._state(trainer))
            self._fresh = False

    def _note(self, kind: str, **fields: Any) -> None:
        self._file.write(json.dumps({"kind": kind, "time": time.time(), **fields}) + "\n")
        self._file.flush()

    def _state(self, trainer: Trainer) -> dict[str, Any]:
        """Return the current state by item, as digests where it is long."""
        module, optimizer = trainer.lightning_module, trainer.optimizers[0]
        schedule = trainer.lr_scheduler_configs[0].scheduler
        return {
            "validation that is to be done": self._validates,
            "weights": _digest(module.state_dict()),
            "optimizer": _digest(optimizer.state_dict()["state"]),
            "learning rate": [
                [float(group["lr"]).hex() for group in optimizer.param_groups],
                schedule.last_epoch,
            ],
            "plateau of the schedule": cast(PtychoModule, module).plateau.state_dict(),
            "optimizer step": trainer.global_step,
            "gradient of an open accumulation window": self._open_window(trainer),
            "position": self._data.state_dict(),
            **{f"random generator of {name}": part for name, part in rng_parts().items()},
            **self._run_state(),
        }

    def _open_window(self, trainer: Trainer) -> str | None:
        """Return a digest of gradients that a stop here would lose; None: there are none."""
        batches = self._data.position.micro_batch
        ends_epoch = self._data.position.sample == len(self._data.train)
        if ends_epoch or batches % trainer.accumulate_grad_batches == 0 or self._fresh:
            return None
        return _digest([parameter.grad for parameter in trainer.lightning_module.parameters()])


def _digest(state: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, state)
    return digest.hexdigest()


def _feed(digest: Any, state: Any) -> None:
    if isinstance(state, torch.Tensor):
        digest.update(state.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(state, Mapping):
        for key in sorted(state, key=str):
            digest.update(str(key).encode())
            _feed(digest, state[key])
    elif isinstance(state, (list, tuple)):
        for item in state:
            _feed(digest, item)
    else:
        digest.update(repr(state).encode())
