"""Apply a trained network to another scan, as `ptycho-infer` does."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass

import torch

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig, trim_misfit
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.errors import UserError
from ptycho_dist.legacy import LegacyScope, require_same_on_all_ranks
from ptycho_dist.reconstruction.deliver import Delivered
from ptycho_dist.reconstruction.scan import ScanTask, reconstruct_scan
from ptycho_dist.reconstruction.stitch import Worker, groups_at_once
from ptycho_dist.reconstruction.trained import TrainedNetwork, load_trained
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.agreement import Agreement


@dataclass(frozen=True)
class Inferred:
    """The result of an inference on one rank."""

    delivered: Delivered | None
    """Files that rank 0 wrote; None on the other ranks."""
    passed_over: tuple[str, ...]
    """Reasons why newer checkpoints were not used."""


def infer(
    inference: InferenceConfig,
    execution: PyTorchExecutionConfig,
    device: torch.device,
    rank: int,
    ranks: int,
) -> Inferred:
    """Reconstruct a scan with the newest whole checkpoint of a run, on all ranks together.

    Options for the choice of groups that `inference` does not set are taken from the run's config.

    Args:
        inference: The scan, the run and the options of the inference.
        execution: Batch size, workers and trim.
        device: Device of this rank.
        rank: Number of this rank.
        ranks: Number of ranks; if there are several, the process group must be open.

    Raises:
        UserError: The run has no whole checkpoint or another network than expected, no learned
            probe although one was asked for, or the output folder cannot be written.
        DataError: The data file breaks the data contract or has another detector size.
        LegacyError: The legacy globals cannot be set, or were changed meanwhile.
    """
    run = RunDirectory(inference.model_path)
    trained = load_trained(run, device)
    _require_expected(inference, execution, trained.config)
    task = ScanTask(
        data_file=inference.test_data_file,
        data=_groups_asked_for(inference, trained.config.data),
        model=trained.config.model,
        run=run.run_id,
        checkpoint=trained.checkpoint,
        folder=inference.output_dir,
        n_groups=inference.n_groups,
        truth_file=inference.truth_file,
        show_positions=inference.show_positions,
        n_subsample=inference.n_subsample,
        intensity_scale=trained.intensity_scale,
        nphotons=trained.config.training.nphotons,
    )
    agreement = Agreement(ranks)
    canonical = dataclasses.replace(
        inference,
        model=trained.config.model,
        neighbor_count=task.data.neighbor_count,
        subsample_seed=task.data.subsample_seed,
    )
    legacy = trained.config.legacy
    with LegacyScope(canonical, module=legacy.module, attribute=legacy.attribute) as scope:
        require_same_on_all_ranks(scope, agreement.texts)
        worker = Worker(
            rank,
            ranks,
            device,
            agreement,
            groups_at_once(execution),
            execution.middle_trim,
            execution.num_workers,
            scope.worker_init,
        )
        delivered = reconstruct_scan(
            trained.network, _probe_asked_for(inference, trained), task, worker
        )
    return Inferred(delivered, trained.passed_over)


def _require_expected(
    inference: InferenceConfig, execution: PyTorchExecutionConfig, of_run: RunConfig
) -> None:
    """Refuse a network that differs from that of the run, and options that do not fit it."""
    misfit = trim_misfit(execution.middle_trim, of_run.model.N)
    if misfit:
        raise UserError(f"execution.middle_trim: {misfit}")
    if inference.model is not None and inference.model != of_run.model:
        expected, found = asdict(inference.model), asdict(of_run.model)
        differing = [name for name in found if found[name] != expected[name]]
        raise UserError(
            f"{inference.model_path}: its network has "
            f"{', '.join(f'{name} {found[name]!r}' for name in differing)}, but "
            f"{', '.join(f'{expected[name]!r}' for name in differing)} was expected"
        )


def _groups_asked_for(inference: InferenceConfig, of_run: DataConfig) -> DataConfig:
    asked = of_run
    if inference.neighbor_count is not None:
        asked = dataclasses.replace(asked, neighbor_count=inference.neighbor_count)
    if inference.subsample_seed is not None:
        asked = dataclasses.replace(asked, subsample_seed=inference.subsample_seed)
    return asked


def _probe_asked_for(inference: InferenceConfig, trained: TrainedNetwork) -> torch.Tensor | None:
    if inference.probe == "file":
        return None
    if inference.probe == "learned" and trained.learned_probe_PHW is None:
        raise UserError(
            f"{inference.model_path}: the run did not learn a probe (training.probe_trainable was "
            "off); use --probe file"
        )
    return trained.learned_probe_PHW
