"""The training step: object patches, forward model, and a loss whose sum over ranks is right."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.data.loader import Position
from ptycho_dist.data.order import samples_of_step
from ptycho_dist.data.store import GroupBatch
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork, Views
from ptycho_dist.physics.forward import diffraction_amplitude
from ptycho_dist.physics.losses import amplitude_mae, poisson_nll, realspace_errors
from ptycho_dist.physics.patches import extract_patches, merge_patches, merge_weights
from ptycho_dist.training.clipping import clip_adaptively
from ptycho_dist.training.schedule import Plateau, step_factor


class LossSums:
    """The sum of the losses of samples, and their number, which ranks can add without bias.

    The sums stay on the device until they are read, so that a step does not wait for the device.
    """

    def __init__(self) -> None:
        """Begin with no sample."""
        self._pending: list[torch.Tensor] = []
        self._total = 0.0
        self.count = 0

    def add(self, losses_B: torch.Tensor) -> None:
        """Add per-sample losses, (B,); B may be 0."""
        self._pending.append(losses_B.detach().sum())
        self.count += losses_B.shape[0]

    @property
    def total(self) -> float:
        """The sum of all losses added so far."""
        if self._pending:
            self._total += float(torch.stack(self._pending).cpu().double().sum())
            self._pending = []
        return self._total


class PtychoModule(LightningModule):
    """A physics-informed network under automatic optimization, which accumulation needs.

    DDP averages gradients over ranks, and Lightning divides by the accumulated micro-batches. The
    loss of a rank is therefore the sum over its samples × ranks × accum_steps / n, where n is the
    number of samples of the optimizer step. What remains is the mean over all samples of the step,
    Σ_r Σ_b ℓ / n, however unequally the ranks share a ragged batch.
    """

    def __init__(
        self,
        network: PatchNetwork,
        physics: ScanPhysics,
        canvas_shape_YX: tuple[int, int],
        config: RunConfig,
        world: World,
    ) -> None:
        """Put the network and its physics together.

        Args:
            network: makes object patches from views of the patterns.
            physics: probe and brightness of the training scan.
            canvas_shape_YX: a canvas in pixels that holds any group of training or test data.
            config: weights of the losses, learning rate and its schedule.
            world: counts of ranks, batches and samples.
        """
        super().__init__()
        self.network = network
        self.physics = physics
        self._canvas_shape_YX = canvas_shape_YX
        self._weights = config.training
        self._execution = config.execution
        self._model = config.model
        self._world = world
        self.plateau = Plateau(config.execution.scheduler, config.execution.checkpoint_mode)
        """What a schedule that watches the loss has seen of it."""
        self.epoch_start = Position()
        """Where the current epoch was begun or resumed; set by the run's callback."""
        self.schedule_shift = 0
        """Optimizer steps by which the schedule is ahead of the steps done.

        It is not 0 after a resume on another number of ranks, where an epoch has other steps.
        """
        self.train_sums = LossSums()
        self.val_sums = LossSums()

    def forward(self, views: Views, corner_BC2: torch.Tensor) -> torch.Tensor:
        """Return the object patches of each group, (B, C, N, N) complex64.

        After each stage the patches of a group are merged on one canvas and cut out of it again,
        unless `model.object_big` is off.
        """
        object_BCHW = torch.ones_like(views.probe_BCPHW[:, :, 0])
        size = object_BCHW.shape[-1]
        weight_BCHW = merge_weights(views.probe_BCPHW)
        for stage in range(self.network.stages):
            object_BCHW = self.network.refine(stage, object_BCHW, views)
            if not self._model.object_big:
                continue
            canvas_BYX = merge_patches(object_BCHW, weight_BCHW, corner_BC2, self._canvas_shape_YX)
            object_BCHW = extract_patches(canvas_BYX, corner_BC2, size)
        return object_BCHW

    def losses(self, batch: GroupBatch) -> torch.Tensor:
        """Return the loss of each group of a batch, (B,); B may be 0."""
        views = self.physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
        object_BCHW = self(views, batch["corner_BC2"])
        predicted_amp = diffraction_amplitude(object_BCHW, views.probe_BCPHW, views.envelope_HW)
        losses_B = predicted_amp.new_zeros(predicted_amp.shape[0])
        if self._weights.nll_weight:
            nll_B = poisson_nll(predicted_amp, views.amplitude_BCHW)
            losses_B = losses_B + self._weights.nll_weight * nll_B
        if self._weights.mae_weight:
            scale = views.input_scale  # 1 / rms A
            mae_B = amplitude_mae(scale * predicted_amp, scale * views.amplitude_BCHW)
            losses_B = losses_B + self._weights.mae_weight * mae_B
        if self._model.model_type == "supervised":
            weights = self._weights
            square_B, absolute_B = realspace_errors(object_BCHW, batch["label_BCHW"])
            losses_B = losses_B + weights.realspace_weight * square_B
            losses_B = losses_B + weights.realspace_mae_weight * absolute_B
        return losses_B

    def training_step(self, batch: GroupBatch, batch_idx: int) -> torch.Tensor:
        """Return the weighted loss of one micro-batch, a scalar."""
        losses_B = self.losses(batch)
        self.train_sums.add(losses_B)
        world = self._world
        in_step = samples_of_step(
            world.samples,
            batch_size=world.batch_size,
            ranks=world.ranks,
            accum_steps=world.accum_steps,
            micro_batch=batch_idx,
            first_sample=self.epoch_start.sample,
            first_batch=self.epoch_start.micro_batch,
        )
        return losses_B.sum() * (world.ranks * world.accum_steps / in_step)

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Add the losses of one batch of test data to the sums of this epoch."""
        self.val_sums.add(self.losses(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam (Kingma & Ba, 2015) with torch's defaults, and its learning-rate schedule."""
        physics = dict(self.physics.named_parameters())
        probe = [physics.pop("probe_parts")] if "probe_parts" in physics else []
        groups: list[dict[str, Any]] = [{"params": [*self.network.parameters(), *physics.values()]}]
        if probe:  # it begins far from its answer, whereas the network begins near its own
            groups.append({"params": probe, "lr": self._weights.probe_learning_rate})
        optimizer = torch.optim.Adam(groups, lr=self._execution.learning_rate)
        world, scheduler = self._world, self._execution.scheduler
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: (
                self.plateau.factor
                * step_factor(
                    scheduler, step + self.schedule_shift, world.steps_per_epoch, world.epochs
                )
            ),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the mean gradient of all ranks and micro-batches, once per optimizer step.

        Lightning has unscaled the gradients of 16-mixed by then. Adaptive clipping is for layers,
        so that it leaves the learned probe and brightness alone. A bound of 0 clips nothing, as in
        Lightning.
        """
        execution = self._execution
        if execution.gradient_clip_algorithm != "agc":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif execution.gradient_clip_val:
            clip_adaptively(self.network.parameters(), execution.gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what the schedule has seen of the loss, and its shift."""
        checkpoint["plateau"] = self.plateau.state_dict()
        checkpoint["schedule_shift"] = self.schedule_shift

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` saved; Lightning restores the rest."""
        self.plateau.load_state_dict(checkpoint["plateau"])
        self.schedule_shift = int(checkpoint["schedule_shift"])


def module_of(trainer: Trainer) -> PtychoModule:
    """Return the module that a trainer fits, with its own type."""
    module: PtychoModule = trainer.lightning_module  # type: ignore[assignment]
    return module
