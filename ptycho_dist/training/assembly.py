"""Assembly of a training: data, network, callbacks, clock and Lightning's trainer."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch import Callback, Trainer

from ptycho_dist.config.run import RunConfig
from ptycho_dist.training.callback import RunCallback
from ptycho_dist.training.checkpoints import RunCheckpoints
from ptycho_dist.training.commit import Committer
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.drill import DrillCallback
from ptycho_dist.training.epoch_pictures import EpochPictures
from ptycho_dist.training.figures import EpochFigures
from ptycho_dist.training.measuring import Measuring
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.task import TrainingTask
from ptycho_dist.training.trainer import build_module, build_trainer


@dataclass(frozen=True)
class AssembledTraining:
    """The parts of a training that is ready to begin."""

    data: PtychoData
    module: PtychoModule
    trainer: Trainer
    callback: RunCallback
    clock: StepClock
    measuring: Measuring


def assemble(task: TrainingTask, node_config: RunConfig) -> AssembledTraining:
    """Read the data and build everything that the training needs.

    Args:
        task: what is trained.
        node_config: the config, which names the data files as this node has them.

    Raises:
        UserError: the data is not what the contract promises, or the device cannot compute in the
            precision asked for.
    """
    rank, world = task.rank, task.world
    data = PtychoData(node_config, world, rank.rank, task.scope.worker_init)
    clock = StepClock(task.run, rank, world.threads_per_rank)
    measuring = Measuring(task.plan.measurement, task.monitor, rank.rank)
    figures = EpochFigures(task)
    checkpoints = RunCheckpoints(task, Committer(task), figures, clock)
    pictures = EpochPictures(task.run, node_config, data, rank)
    callback = RunCallback(task, checkpoints, figures, pictures, clock, measuring)
    callbacks: list[Callback] = [checkpoints, callback]
    drill = DrillCallback.of(task, data, callback.named_state)
    if drill is not None:
        callbacks.insert(0, drill)  # its signals must come before the run asks whether to stop
    trainer = build_trainer(task, callbacks, clock)
    # The module last: it seeds the random generators, from which nothing else may draw after that.
    module = build_module(task.config, world, data)
    return AssembledTraining(data, module, trainer, callback, clock, measuring)
