"""Load the network of a run from its newest whole checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ptycho_dist.checkpoint.catalog import Checkpoint, checkpoint_name, newest_whole
from ptycho_dist.checkpoint.state import read_state
from ptycho_dist.config.run import RunConfig
from ptycho_dist.errors import UserError, in_one_line
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.rundir.layout import RunDirectory

_NETWORK, _PHYSICS = "network.", "physics."


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network, ready to use.

    Attributes:
        config: Config of its run.
        network: The network in evaluation mode, on the requested device.
        learned_probe_PHW: complex64, any scale; None if the run used the probe of the file.
        intensity_scale: Factor of the predicted amplitude; 1 if it was not learned.
        checkpoint: Name of the checkpoint.
        passed_over: Reasons why newer checkpoints were not used.
    """

    config: RunConfig
    network: PatchNetwork
    learned_probe_PHW: torch.Tensor | None
    intensity_scale: float
    checkpoint: str
    passed_over: tuple[str, ...]


def load_trained(run: RunDirectory, device: torch.device) -> TrainedNetwork:
    """Read the newest whole checkpoint of a run.

    Raises:
        UserError: The run has no checkpoint, or it does not fit the network of run.json.
    """
    config = run.config()
    found, passed_over = newest_whole(run)
    if found is None:
        raise UserError(f"{run.path}: the run has no checkpoint yet")
    network = build_model(config.model).to(device).eval()
    learned, scale = None, 1.0
    try:
        tensors = read_state(found, device)["state_dict"]
        network.load_state_dict(_part(tensors, _NETWORK))
        if config.training.probe_trainable:
            learned = _probe_of(_part(tensors, _PHYSICS))
        if config.training.intensity_scale_trainable:
            scale = math.exp(float(_part(tensors, _PHYSICS)["log_intensity_scale"]))
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise _misfit(found, error) from None
    return TrainedNetwork(
        config, network, learned, scale, checkpoint_name(found.step), tuple(passed_over)
    )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _probe_of(state: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the learned probe in any scale; `ScanPhysics` scales it to the scan."""
    parts = state["probe_parts"]
    if parts.dim() != 4 or parts.shape[-1] != 2:
        raise RuntimeError(f"probe_parts has shape {tuple(parts.shape)}, not (P, N, N, 2)")
    return torch.view_as_complex(parts.float().contiguous())


def _misfit(checkpoint: Checkpoint, error: Exception) -> UserError:
    return UserError(
        f"{checkpoint.path}: does not fit the network of run.json: {in_one_line(error)[:200]}"
    )
