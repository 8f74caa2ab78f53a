"""Contradictions in a config, found before anything is submitted or trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config.faults import Fault
from ptycho_dist.config.lead import START_UP_S, Measured, planned_lead
from ptycho_dist.config.monitor import unknown_metric
from ptycho_dist.config.resources import walltime_seconds
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World


@dataclass(frozen=True)
class DataFacts:
    """Facts from the header of a data file."""

    n_patterns: int
    """Number of diffraction patterns."""
    N: int
    """Rows and columns of a pattern, in pixels."""
    has_labels: bool = False
    """Whether it holds an object patch for each pattern."""
    counts_known: bool = False
    """Whether the amplitudes are known to be sqrt(counts): from a tag, or because their squares
    are whole numbers."""


def contradictions(
    config: RunConfig,
    world: World,
    train: DataFacts | None,
    test: DataFacts | None,
    measured: Measured | None = None,
) -> Iterator[Fault]:
    """Find fields of a config that contradict each other or the data files.

    Args:
        config: a config whose single fields are valid.
        world: its world.
        train: facts of the training file; None: it cannot be read.
        test: facts of the validation file; None: there is none, or it cannot be read.
        measured: times of this run, or of an earlier run like it.
    """
    yield from _of_the_world(config, world, measured)
    yield from _of_the_job(config)
    yield from _of_the_data(config, world, train, test)
    metric = unknown_metric(config)
    if metric:
        yield Fault("execution.checkpoint_monitor_metric", metric)
    execution = config.execution
    beyond = [n for n in execution.recon_log_fixed_indices or () if n >= world.samples]
    if beyond:
        yield Fault(
            "execution.recon_log_fixed_indices",
            f"{beyond[0]}, but there are only {world.samples} samples, counted from 0",
        )
    if execution.precision == "16-mixed" and execution.accelerator == "cpu":
        yield Fault(
            "execution.precision",
            "16-mixed needs a GPU, but execution.accelerator is cpu; use bf16-mixed or 32-true",
        )
    training = config.training
    if training.nll_weight == 0 and training.mae_weight == 0 and config.model.model_type == "pinn":
        yield Fault(
            "training.nll_weight",
            "nll_weight and mae_weight are both 0, so there is no loss; increase one of them",
        )
    if training.nll_weight == 0 and training.mae_weight == 0:
        for field in ("probe_trainable", "intensity_scale_trainable"):
            if getattr(training, field) and config.model.model_type == "supervised":
                yield Fault(
                    f"training.{field}",
                    "true, but nll_weight and mae_weight are both 0, and labels alone do not "
                    "determine the illumination; increase one of them, or set this to false",
                )


def needless_nphotons(nphotons: float, path: Path) -> str:
    """Return the message for an `nphotons` that would change the noise of counted photons."""
    return (
        f"{nphotons:g}, but the amplitudes of {path} are known to be sqrt(counts), so they are "
        "in photons already; omit nphotons"
    )


def _of_the_world(config: RunConfig, world: World, measured: Measured | None) -> Iterator[Fault]:
    resources, execution = config.resources, config.execution
    gpus, tasks = resources.gpus_per_node, resources.tasks_per_node
    if execution.devices not in ("auto", world.tasks_per_node):
        yield Fault(
            "execution.devices",
            f"{execution.devices}, but resources give {world.tasks_per_node} ranks per node, with "
            "one device each; make them equal, or omit devices",
        )
    if execution.num_nodes not in ("auto", world.nodes):
        yield Fault(
            "execution.num_nodes",
            f"{execution.num_nodes}, but resources.nodes is {world.nodes}; make them equal, or "
            "omit num_nodes",
        )
    if gpus is not None and tasks is not None and gpus != tasks and execution.accelerator != "cpu":
        yield Fault(
            "resources.tasks_per_node",
            f"{tasks} ranks per node, but {gpus} GPUs per node, and each rank uses one GPU; "
            "make them equal, or omit tasks_per_node",
        )
    if gpus is not None and execution.accelerator == "cpu":
        yield Fault(
            "resources.gpus_per_node",
            f"{gpus} GPUs are requested, but execution.accelerator is cpu; omit one of the two",
        )
    if gpus is None and execution.accelerator in {"gpu", "cuda"}:
        yield Fault(
            "resources.gpus_per_node",
            f"execution.accelerator is {execution.accelerator}, but no GPU is requested; "
            "set gpus_per_node, or accelerator: auto",
        )
    if execution.accelerator == "mps" and world.ranks > 1:
        yield Fault(
            "execution.accelerator",
            f"mps supports one rank only, not {world.ranks}; use cpu or one rank",
        )
    if execution.accelerator == "tpu":
        yield Fault("execution.accelerator", "tpu is not supported; use auto, cpu or cuda")
    walltime = walltime_seconds(resources.time)
    lead = planned_lead(config.requeue, measured)
    if config.requeue.signal_lead_s != "auto" and lead >= walltime:
        yield Fault(
            "requeue.signal_lead_s",
            f"{lead} s is not shorter than the walltime of {walltime} s, so nothing would run; "
            "increase resources.time or decrease the lead",
        )
    elif config.requeue.signal_lead_s == "auto" and lead + START_UP_S > walltime:
        source = "nothing measured yet"
        if measured is not None:
            source = (
                f"steps took up to {measured.step_s:.3g} s and checkpoints "
                f"{measured.checkpoint_s:.3g} s"
            )
        yield Fault(
            "resources.time",
            f"{walltime} s is too short for {START_UP_S} s of start-up and a requeue.signal_lead_s "
            f"of {lead} s (auto; {source}), so nothing would run; increase it, or set a lead",
        )


def _of_the_job(config: RunConfig) -> Iterator[Fault]:
    resources = config.resources
    if resources.gpu_type is not None and resources.gpus_per_node is None:
        yield Fault(
            "resources.gpu_type",
            f"{resources.gpu_type}, but no GPU is requested; set gpus_per_node",
        )
    if resources.mail_user is not None and not resources.mail_type:
        yield Fault(
            "resources.mail_user",
            f"{resources.mail_user}, but mail_type names no event; set it, for example [END, FAIL]",
        )
    per_part = {"mem-per-cpu", "mem-per-gpu"} & resources.sbatch_options.keys()
    if resources.mem_per_node is not None and per_part:
        yield Fault(
            "resources.mem_per_node",
            f"sbatch_options sets {min(per_part)}, and SLURM accepts only one of the two; omit one",
        )


def _of_the_data(
    config: RunConfig, world: World, train: DataFacts | None, test: DataFacts | None
) -> Iterator[Fault]:
    data = config.data
    if train is not None and data.n_subsample is not None and data.n_subsample > train.n_patterns:
        yield Fault(
            "data.n_subsample",
            f"{data.n_subsample} patterns, but {data.train_data_file} has only {train.n_patterns}",
        )
    elif train is not None and data.n_groups is not None:
        used = data.n_subsample or train.n_patterns
        if data.n_groups > used:
            chosen = (
                "data.n_subsample is" if data.n_subsample else f"{data.train_data_file} has only"
            )
            yield Fault("data.n_groups", f"{data.n_groups} groups, but {chosen} {used} patterns")
    if world.ranks > world.samples:
        yield Fault(
            "resources.nodes",
            f"{world.ranks} ranks, but only {world.samples} samples, so some ranks would get "
            "none; use fewer ranks",
        )
    channels = config.model.gridsize**2
    if channels > 1 and data.neighbor_count < channels:
        yield Fault(
            "data.neighbor_count",
            f"{data.neighbor_count} neighbours, but groups of {channels} patterns (model.gridsize "
            f"{config.model.gridsize}) need at least {channels}; increase it",
        )
    for field, facts in (("train_data_file", train), ("test_data_file", test)):
        if facts is None:
            continue
        n_patterns = facts.n_patterns
        if field == "train_data_file":
            n_patterns = min(n_patterns, data.n_subsample or n_patterns)
        if config.model.model_type == "supervised" and not facts.has_labels:
            yield Fault(
                "model.model_type",
                f"supervised needs labels (DATA-SUP-001), but {getattr(data, field)} has no key "
                "`label` with a complex object patch for each pattern; add it, or set pinn",
            )
        nphotons = config.training.nphotons
        if nphotons is not None and facts.counts_known:
            yield Fault("training.nphotons", needless_nphotons(nphotons, getattr(data, field)))
        if facts.N != config.model.N:
            yield Fault(
                "model.N",
                f"{config.model.N}, but the patterns in {getattr(data, field)} have "
                f"{facts.N} × {facts.N} pixels; make them equal",
            )
        if data.block_size is not None and n_patterns < data.block_size:
            yield Fault(
                "data.block_size",
                f"{data.block_size} patterns per block, but data.{field} has only {n_patterns}",
            )
        if channels > 1 and n_patterns <= data.neighbor_count:
            yield Fault(
                "data.neighbor_count",
                f"{data.neighbor_count} neighbours, but data.{field} has only "
                f"{n_patterns} patterns",
            )
