"""Lightning's trainer and the module that it fits, built from the task of a training."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from datetime import timedelta

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError
from ptycho_dist.models.registry import build_model
from ptycho_dist.runtime.lightning_cluster import JoinedCluster
from ptycho_dist.runtime.process_group import GUARD_FIRST_S
from ptycho_dist.runtime.rng import seed_rng
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.module import PtychoModule, ScanPhysics
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.task import TrainingTask

_HARMLESS_WARNINGS = (
    # The loader begins at the checkpoint's position by itself; Lightning cannot see that.
    ".*your dataloader is not resumable.*",
    # The plan chooses the number of workers.
    ".*does not have many workers.*",
    # The local cluster starts the ranks, on purpose without srun.
    ".*`srun` command is available on your system but is not used.*",
    # It concerns the weights of a single channel: DDP copies nine numbers.
    ".*Grad strides do not match bucket view strides.*",
    # There is no validation data.
    ".*Total length of `list` across ranks is zero.*",
    # It concerns only how parts of Lightning call each other.
    ".*isinstance\\(treespec, LeafSpec\\).*",
)


class _OurSignalHandlers(_SignalConnector):
    """Keeps Lightning from installing its signal handlers.

    Its SIGTERM handler runs a collective, which hangs ranks that are at another place. The flags
    of ptycho_dist.runtime.stop remain in force instead.
    """

    def register_signal_handlers(self) -> None:
        pass

    def teardown(self) -> None:
        pass


def build_module(config: RunConfig, world: World, data: PtychoData) -> PtychoModule:
    """Build the network with its physics; the seed gives every rank the same initial weights."""
    seed_rng(config.training.seed)
    datasets = [data.train] if data.test is None else [data.train, data.test]
    rows, columns = zip(*(dataset.canvas_shape_YX for dataset in datasets), strict=True)
    return PtychoModule(
        build_model(config.model),
        ScanPhysics(
            data.train.probe_PHW,
            data.train.mean_total_counts,
            config.training.probe_trainable,
            config.model,
            intensity_trainable=config.training.intensity_scale_trainable,
        ),
        (max(rows), max(columns)),
        config,
        world,
    )


def build_trainer(task: TrainingTask, callbacks: Sequence[Callback], clock: StepClock) -> Trainer:
    """Build a trainer with Lightning's loops, and with our ranks, checkpoints and signals.

    Args:
        task: what is trained.
        callbacks: in the order in which Lightning calls them.
        clock: takes the time of what the loops do.

    Raises:
        UserError: the device cannot compute in the precision asked for.
    """
    config, world, device = task.config, task.world, task.rank.device
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for harmless in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=harmless)
    execution = config.execution
    if execution.precision == "16-mixed" and device.kind == "cpu":
        raise UserError(
            "execution.precision: 16-mixed needs a GPU, and this rank computes on the CPU; use "
            "bf16-mixed or 32-true"
        )
    adaptive = execution.gradient_clip_algorithm == "agc"
    trainer = Trainer(
        accelerator=device.kind,
        strategy=_strategy(task),
        devices=world.devices_per_node,
        num_nodes=world.nodes,
        precision=execution.precision,
        max_epochs=world.epochs,
        accumulate_grad_batches=execution.accum_steps,
        # adaptive clipping is the module's own; Lightning knows norm and value
        gradient_clip_val=None if adaptive else execution.gradient_clip_val,
        gradient_clip_algorithm=None if adaptive else execution.gradient_clip_algorithm,
        deterministic=execution.deterministic,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=execution.enable_progress_bar,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        profiler=clock,
        default_root_dir=task.run.path,
        # after a resume on another number of ranks the length of the loader may change per epoch
        reload_dataloaders_every_n_epochs=int(task.plan.resized),
    )
    trainer._signal_connector = _OurSignalHandlers(trainer)
    # Before each micro-batch Lightning broadcasts whether its SIGTERM handler was called, and all
    # ranks wait for that. The handler is not installed: the run's callback agrees on stops.
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    # Lightning does not call its profiler for a whole validation, nor for the start of the workers.
    epoch_loop.val_loop.run = clock.timed("validation", epoch_loop.val_loop.run)  # type: ignore[method-assign]
    epoch_loop.on_run_start = clock.timed("data", epoch_loop.on_run_start)  # type: ignore[method-assign]
    return trainer


def _strategy(task: TrainingTask) -> Strategy:
    execution, rank = task.config.execution, task.rank
    attempt = rank.joined.attempt
    checkpoint_io = RunCheckpointIO(
        task.run,
        attempt,
        keep=execution.checkpoint_keep_last,
        save_top_k=execution.checkpoint_save_top_k,
        mode=execution.checkpoint_mode,
        keep_every_n_epochs=execution.checkpoint_keep_every_n_epochs,
    )
    if task.world.ranks == 1 and execution.strategy == "auto":
        return SingleDeviceStrategy(rank.device.torch, checkpoint_io=checkpoint_io)
    return DDPStrategy(
        cluster_environment=JoinedCluster(rank.environment, attempt),
        checkpoint_io=checkpoint_io,
        process_group_backend=rank.device.backend,
        timeout=timedelta(seconds=execution.collective_timeout_s + GUARD_FIRST_S),
        find_unused_parameters=False,
        forward_sync_buffers=False,  # probe and scale are constants, the same on every rank
        gradient_as_bucket_view=True,
    )
