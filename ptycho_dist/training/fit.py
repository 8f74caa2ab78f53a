"""One attempt of a run on one rank: from the newest whole checkpoint to the end, or to a stop."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Literal

import torch.distributed as dist

from ptycho_dist.checkpoint.catalog import best_whole, newest_whole, sweep
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.config.monitor import monitor_of
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.legacy import LegacyScope, require_same_on_all_ranks
from ptycho_dist.rundir import LedgerWriter, RunDirectory
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.runtime.accelerator import Device
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.cluster import JoinedCluster
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.rendezvous import Joined
from ptycho_dist.runtime.report import RankReport
from ptycho_dist.runtime.stop import StopRequest
from ptycho_dist.training.callback import RunCallback, StoppedOnRequest
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.finish import reconstruct_at_end
from ptycho_dist.training.recon_log import ReconstructionLog
from ptycho_dist.training.trainer import build_module, build_trainer

log = logging.getLogger(__name__)


def train(
    run: RunDirectory,
    config: RunConfig,
    world: World,
    environment: RankEnvironment,
    joined: Joined,
    device: Device,
    agreement: Agreement,
    scope: LegacyScope,
    stop: StopRequest,
    ledger: LedgerWriter,
    report: RankReport,
) -> Literal["finished", "stopped"]:
    """Train until the last epoch is done or all ranks have agreed to stop.

    Raises:
        UserError: the data is not what the contract promises, or every checkpoint is damaged.
        SupersededAttempt: a later attempt has taken the run over.
        LegacyError: the legacy globals are no longer those of the config, or of all ranks.
    """
    began = time.monotonic()
    rank = environment.rank
    require_same_globals = partial(_require_same_globals, scope, agreement)
    execution, monitor = config.execution, monitor_of(config)
    if rank == 0:
        stands_in = ""
        if execution.checkpoint_monitor_metric.endswith("val_loss") and monitor.split == "train":
            stands_in = ", in place of the validation loss: there is no data.test_data_file"
        log.info("watched: %s (%s)%s", monitor.name, monitor.mode, stands_in)
    data = PtychoData(config, world, rank, scope.worker_init)
    callback = RunCallback(
        run,
        world,
        rank,
        stop,
        agreement,
        ledger,
        report,
        monitor,
        execution,
        require_same_globals,
        ReconstructionLog(run, config, data, agreement, rank),
    )
    trainer = build_trainer(
        config,
        world,
        device,
        JoinedCluster(environment, joined.attempt),
        RunCheckpointIO(
            run,
            joined.attempt,
            save_top_k=execution.checkpoint_save_top_k,
            mode=execution.checkpoint_mode,
        ),
        [callback],
        run,
    )
    module = build_module(config, world, data)
    checkpoint = _checkpoint_of_all(run, joined.store, rank, world.ranks)
    if checkpoint is not None:
        ledger.append("resumed_from", checkpoint=checkpoint)
        log.info("resumes from %s", checkpoint)
    if agreement.any(stop.requested):  # asked to stop while starting: nothing new to save
        step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
        if stop.requested:
            ledger.append("stop_requested", signal=stop.signal_name)
        ledger.append("stopped", step=step)
        report.say("stopped", step=step)
        return "stopped"
    try:
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=None if checkpoint is None else str(run.checkpoints / checkpoint),
            weights_only=True,
        )
    except StoppedOnRequest as stopped:
        log.info("%s", stopped)
        return "stopped"
    pictured: dict[str, Any] = {}
    if config.reconstruct:
        try:
            pictured = reconstruct_at_end(
                run,
                config,
                module,
                trainer.global_step,
                environment,
                device,
                agreement,
                stop,
                report,
            )
        except StoppedOnRequest as stopped:
            if stop.requested:
                ledger.append("stop_requested", signal=stop.signal_name)
            ledger.append("stopped", step=stopped.step)
            report.say("stopped", step=stopped.step)
            return "stopped"
    require_same_globals("at the end")
    if rank == 0:
        callback.write_rows()  # an attempt may have been killed before it could
        best = best_whole(run, monitor.mode)
        result: dict[str, Any] = {
            "format": 1,
            "attempt": joined.attempt.number,
            "finished_at": time.time(),
            "seconds_in_last_attempt": round(time.monotonic() - began, 3),
            "steps": trainer.global_step,
            "last_epoch": callback.rows[-1],
            "best": {
                "metric": monitor.name,
                "value": best.value if best else None,
                "checkpoint": best.path.name if best else None,
            },
            **pictured,
        }
        write_json_atomic(run.result_json, result)
    ledger.append("finished", step=trainer.global_step)
    report.say(
        "finished",
        epoch=callback.rows[-1]["epoch"],
        epochs=world.epochs,
        step=trainer.global_step,
        total_steps=world.total_steps,
        loss=callback.rows[-1]["train_loss"],
    )
    return "finished"


def _require_same_globals(scope: LegacyScope, agreement: Agreement, when: str) -> None:
    require_same_on_all_ranks(scope, agreement.texts, when)


def _checkpoint_of_all(run: RunDirectory, store: dist.Store, rank: int, ranks: int) -> str | None:
    """The name of the checkpoint to resume from: chosen by rank 0, the same for all.

    A file system may show other ranks an older listing.
    """
    if rank == 0:
        sweep(run)
        found, reasons = newest_whole(run)
        for reason in reasons:
            log.warning("checkpoint passed over: %s", reason)
        name = "" if found is None else found.path.name
        store.set("checkpoint", name)
    if ranks > 1:
        name = store.get("checkpoint").decode()
    return name or None
