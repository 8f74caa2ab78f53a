"""The training step: object patches, forward model, loss, weighted so that ranks add up."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import nn

from ptycho_dist.config.training import TrainingConfig
from ptycho_dist.config.world import World
from ptycho_dist.data.order import samples_of_step
from ptycho_dist.data.store import GroupBatch
from ptycho_dist.physics.forward import diffraction_amplitude
from ptycho_dist.physics.losses import amplitude_mae, poisson_nll


class LossSums:
    """Loss summed over samples, and how many: what ranks can add up without bias.

    The sums stay on the device until they are read, so that a step does not wait for it.
    """

    def __init__(self) -> None:
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
    """A physics-informed network under automatic optimization (which accumulation needs).

    DDP averages gradients over ranks and Lightning divides by the accumulated micro-batches. The
    loss of a rank is the sum over its samples × ranks × accum_steps / samples of the optimizer
    step, so that what remains is the mean over all samples of the step, however unequally a
    ragged batch was shared: Σ_r Σ_b ℓ / n.
    """

    def __init__(
        self,
        network: nn.Module,
        probe_PHW: torch.Tensor,
        input_scale: float,
        training: TrainingConfig,
        learning_rate: float,
        world: World,
    ) -> None:
        """
        Args:
            network: (B, C, N, N) float32 → (B, C, N, N) complex64.
            probe_PHW: complex64, in the unit of the measured amplitude, sqrt(counts).
            input_scale: s; the network sees s·A.
            training: weights of the losses.
            learning_rate: Adam's step size.
            world: batches and ranks.
        """
        super().__init__()
        self.probe_PHW: torch.Tensor
        self.input_scale: torch.Tensor
        self.network = network
        self.register_buffer("probe_PHW", probe_PHW)
        self.register_buffer("input_scale", torch.tensor(input_scale, dtype=torch.float32))
        self._training_config = training
        self._learning_rate = learning_rate
        self._world = world
        self.train_sums = LossSums()
        self.val_sums = LossSums()

    def forward(self, amplitude_BCHW: torch.Tensor) -> torch.Tensor:
        """Object patches, (B, C, N, N) complex64, from measured amplitudes in sqrt(counts)."""
        patches: torch.Tensor = self.network(self.input_scale * amplitude_BCHW)
        return patches

    def losses(self, batch: GroupBatch) -> torch.Tensor:
        """The loss of each group of a batch, (B,); B may be 0."""
        measured_amp = batch["amplitude_BCHW"]
        predicted_amp = diffraction_amplitude(self(measured_amp), self.probe_PHW)
        weights = self._training_config
        losses_B = weights.nll_weight * poisson_nll(predicted_amp, measured_amp)
        if weights.mae_weight:
            losses_B = losses_B + weights.mae_weight * amplitude_mae(predicted_amp, measured_amp)
        return losses_B

    def training_step(self, batch: GroupBatch, batch_idx: int) -> torch.Tensor:
        """The weighted loss of one micro-batch, a scalar."""
        losses_B = self.losses(batch)
        self.train_sums.add(losses_B)
        world = self._world
        in_step = samples_of_step(
            world.samples,
            batch_size=world.batch_size,
            ranks=world.ranks,
            accum_steps=world.accum_steps,
            micro_batch=batch_idx,
        )
        return losses_B.sum() * (world.ranks * world.accum_steps / in_step)

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Add the losses of one batch of the test data to the sums of this epoch."""
        self.val_sums.add(self.losses(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (Kingma & Ba, 2015) with torch's defaults but for the step size."""
        return torch.optim.Adam(self.parameters(), lr=self._learning_rate)
