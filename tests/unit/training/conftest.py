"""Runs a whole training of one rank in this process, so that tests can look at its parts."""

from __future__ import annotations

import multiprocessing
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer

from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.legacy import LegacyScope
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.measurement_plan import MeasurementPlan
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.runtime.accelerator import Device
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.runtime.rank_heartbeat import RankHeartbeat
from ptycho_dist.runtime.rendezvous import JoinedWorld
from ptycho_dist.runtime.stop import STOP_SIGNALS, StopRequest
from ptycho_dist.training import assembly as assembly_room
from ptycho_dist.training.fit import train as train_run
from ptycho_dist.training.task import TrainingTask


@dataclass
class Fitted:
    """What a training leaves behind."""

    run: RunDirectory
    trainer: Trainer
    module: Any
    data: Any

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.module.state_dict().items()}


@pytest.fixture
def fit(
    make_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Fitted]]:
    """`fit(text of run.yaml, callback, …)`: train; `resume=fit.last_run` resumes a run.

    `fit.stop` is the stop request of the current training; `interruptions` are those of a drill,
    `measurement` is that of a scaling study.
    """
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def train(
        text: str,
        *watch: Any,
        resume: RunDirectory | None = None,
        data: str = "",
        interruptions: list[dict[str, Any]] | None = None,
        measurement: dict[str, Any] | None = None,
    ) -> Fitted:
        run = resume
        if run is None:
            path = make_config("reconstruct: false\n" + text)
            written = path.read_text()
            if "train_data_file" in data:
                written = re.sub(r"data: {.*}", f"data: {{{data}}}", written)
            else:
                written = written.replace("npz}", f"npz, {data}}}")
            path.write_text(written)
            loaded = read_run_config(path).sound()
            plan = RunPlan(
                world=world_of(loaded.config, 37),
                drill=None if interruptions is None else {"interruptions": interruptions},
                measurement=None if measurement is None else MeasurementPlan(**measurement),
            )
            place = tmp_path / "runs" / f"run-{secrets.token_hex(4)}"
            run = prepare_run(place, loaded, plan, None)
        train.last_run = run  # type: ignore[attr-defined]
        train.stop = StopRequest()  # type: ignore[attr-defined]
        train.stop.install()  # type: ignore[attr-defined]
        config = run.config()
        made: dict[str, Any] = {}
        build_trainer, build_module = assembly_room.build_trainer, assembly_room.build_module

        def keep_trainer(*arguments: Any, **options: Any) -> Trainer:
            made["trainer"] = build_trainer(*arguments, **options)
            made["trainer"].callbacks.extend(watch)
            return made["trainer"]

        def keep_module(config: Any, world: Any, data: Any) -> Any:
            made["data"], made["module"] = data, build_module(config, world, data)
            return made["module"]

        attempt = begin_attempt(run, job_id="test", cluster="local", nodes=["here"])
        place = RankEnvironment(0, 1, 0, 0, "here", "single")
        if config.execution.strategy == "ddp":
            dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            with (
                monkeypatch.context() as patched,
                LegacyScope(config) as scope,
                LedgerWriter(run, attempt.number, "rank-00000") as ledger,
            ):
                patched.setattr(assembly_room, "build_trainer", keep_trainer)
                patched.setattr(assembly_room, "build_module", keep_module)
                rank = JoinedRank(
                    place,
                    JoinedWorld(dist.HashStore(), attempt, None),
                    Device("cpu", "cpu", 0),
                    Agreement(1),
                    train.stop,  # type: ignore[attr-defined]
                    ledger,
                    RankHeartbeat(run, 0, "here"),
                    lambda where: None,
                    lambda: None,
                )
                task = TrainingTask(run, run.plan(), config, rank, scope)
                train.outcome = train_run(task)  # type: ignore[attr-defined]
        finally:
            torch.use_deterministic_algorithms(False)
            if dist.is_initialized():
                dist.destroy_process_group()
        return Fitted(run, made["trainer"], made["module"], made["data"])

    yield train
    for worker in multiprocessing.active_children():
        worker.kill()  # they ignore what would end them by themselves; a rank just leaves
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)
