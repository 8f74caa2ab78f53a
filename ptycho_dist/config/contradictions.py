"""What in a config cannot be meant together: found before anything is submitted or trained."""

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
    """What the header of a data file says."""

    n_patterns: int
    N: int
    has_labels: bool = False
    counts_known: bool = False
    """The amplitudes are known to be sqrt(counts): by a tag, or as their squares are whole."""


def contradictions(
    config: RunConfig,
    world: World,
    train: DataFacts | None,
    test: DataFacts | None,
    measured: Measured | None = None,
) -> Iterator[Fault]:
    """What in a config cannot be meant together, or does not fit its data files.

    Args:
        config: each field for itself is sound.
        world: of that config.
        train: what the training file holds; None: it cannot be read.
        test: what the validation file holds, where there is one that can be read.
        measured: times of this run, or of an earlier one like it.
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
            f"{beyond[0]}, but there are {world.samples} samples, counted from 0",
        )
    if execution.precision == "16-mixed" and execution.accelerator == "cpu":
        yield Fault(
            "execution.precision",
            "16-mixed needs a GPU and execution.accelerator is cpu; use bf16-mixed or 32-true",
        )
    training = config.training
    if training.nll_weight == 0 and training.mae_weight == 0 and config.model.model_type == "pinn":
        yield Fault("training.nll_weight", "both loss weights are 0: there is nothing to learn")
    if training.nll_weight == 0 and training.mae_weight == 0:
        for field in ("probe_trainable", "intensity_scale_trainable"):
            if getattr(training, field) and config.model.model_type == "supervised":
                yield Fault(
                    f"training.{field}",
                    "true, but labels say nothing of the illumination, and nll_weight and "
                    "mae_weight are both 0; raise one of them, or set it false",
                )


def needless_nphotons(nphotons: float, path: Path) -> str:
    """Why amplitudes that are sqrt(counts) are not scaled: their noise would be another."""
    return (
        f"{nphotons:g}, but the amplitudes of {path} are known to be sqrt(counts): they are "
        "photons already; leave nphotons out"
    )


def _of_the_world(config: RunConfig, world: World, measured: Measured | None) -> Iterator[Fault]:
    resources, execution = config.resources, config.execution
    gpus, tasks = resources.gpus_per_node, resources.tasks_per_node
    if execution.devices not in ("auto", world.tasks_per_node):
        yield Fault(
            "execution.devices",
            f"{execution.devices}, but resources give {world.tasks_per_node} ranks per node, one "
            "device each: make them equal, or leave devices out",
        )
    if execution.num_nodes not in ("auto", world.nodes):
        yield Fault(
            "execution.num_nodes",
            f"{execution.num_nodes}, but resources.nodes is {world.nodes}: make them equal, or "
            "leave num_nodes out",
        )
    if gpus is not None and tasks is not None and gpus != tasks and execution.accelerator != "cpu":
        yield Fault(
            "resources.tasks_per_node",
            f"{tasks} ranks per node and {gpus} GPUs per node; one rank drives one GPU: "
            "make them equal, or leave tasks_per_node out",
        )
    if gpus is not None and execution.accelerator == "cpu":
        yield Fault(
            "resources.gpus_per_node",
            f"{gpus} GPUs are asked for and execution.accelerator is cpu; leave one of them out",
        )
    if gpus is None and execution.accelerator in {"gpu", "cuda"}:
        yield Fault(
            "resources.gpus_per_node",
            f"execution.accelerator is {execution.accelerator} and no GPU is asked for; "
            "set gpus_per_node, or accelerator: auto",
        )
    if execution.accelerator == "mps" and world.ranks > 1:
        yield Fault(
            "execution.accelerator", f"mps cannot join {world.ranks} ranks; use cpu or one rank"
        )
    if execution.accelerator == "tpu":
        yield Fault("execution.accelerator", "tpu is not supported; use auto, cpu or cuda")
    walltime = walltime_seconds(resources.time)
    lead = planned_lead(config.requeue, measured)
    if config.requeue.signal_lead_s != "auto" and lead >= walltime:
        yield Fault(
            "requeue.signal_lead_s",
            f"{lead} s before the end of a walltime of {walltime} s: nothing would run; "
            "raise resources.time or lower the lead",
        )
    elif config.requeue.signal_lead_s == "auto" and lead + START_UP_S > walltime:
        source = "while nothing is measured"
        if measured is not None:
            source = (
                f"steps took up to {measured.step_s:.3g} s and checkpoints "
                f"{measured.checkpoint_s:.3g} s"
            )
        yield Fault(
            "resources.time",
            f"{walltime} s cannot hold {START_UP_S} s of start-up and a requeue.signal_lead_s of "
            f"{lead} s (auto; {source}): nothing would run; raise it, or set a lead",
        )


def _of_the_job(config: RunConfig) -> Iterator[Fault]:
    resources = config.resources
    if resources.gpu_type is not None and resources.gpus_per_node is None:
        yield Fault(
            "resources.gpu_type",
            f"{resources.gpu_type}, but no GPU is asked for; set gpus_per_node",
        )
    if resources.mail_user is not None and not resources.mail_type:
        yield Fault(
            "resources.mail_user",
            f"{resources.mail_user}, but mail_type names no event; set it, such as [END, FAIL]",
        )
    per_part = {"mem-per-cpu", "mem-per-gpu"} & resources.sbatch_options.keys()
    if resources.mem_per_node is not None and per_part:
        yield Fault(
            "resources.mem_per_node",
            f"sbatch_options asks for {min(per_part)}, and SLURM takes one of them; leave one out",
        )


def _of_the_data(
    config: RunConfig, world: World, train: DataFacts | None, test: DataFacts | None
) -> Iterator[Fault]:
    data = config.data
    if train is not None and data.n_subsample is not None and data.n_subsample > train.n_patterns:
        yield Fault(
            "data.n_subsample",
            f"{data.n_subsample} patterns, but {data.train_data_file} holds {train.n_patterns}",
        )
    elif train is not None and data.n_groups is not None:
        used = data.n_subsample or train.n_patterns
        if data.n_groups > used:
            chosen = "data.n_subsample is" if data.n_subsample else f"{data.train_data_file} holds"
            yield Fault("data.n_groups", f"{data.n_groups} groups, but {chosen} {used} patterns")
    if world.ranks > world.samples:
        yield Fault(
            "resources.nodes",
            f"{world.ranks} ranks share {world.samples} samples: some would never get one; "
            "use fewer ranks",
        )
    channels = config.model.gridsize**2
    if channels > 1 and data.neighbor_count < channels:
        yield Fault(
            "data.neighbor_count",
            f"{data.neighbor_count} neighbours for groups of {channels} (model.gridsize "
            f"{config.model.gridsize}); at least {channels} are needed",
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
                "`label` with a complex patch for each pattern; add the object patches, or set "
                "pinn",
            )
        nphotons = config.training.nphotons
        if nphotons is not None and facts.counts_known:
            yield Fault("training.nphotons", needless_nphotons(nphotons, getattr(data, field)))
        if facts.N != config.model.N:
            yield Fault(
                "model.N",
                f"{config.model.N}, but {getattr(data, field)} holds patterns of "
                f"{facts.N} × {facts.N} pixels",
            )
        if data.block_size is not None and n_patterns < data.block_size:
            yield Fault(
                "data.block_size",
                f"{data.block_size} patterns a block, but data.{field} holds only {n_patterns}",
            )
        if channels > 1 and n_patterns <= data.neighbor_count:
            yield Fault(
                "data.neighbor_count",
                f"{data.neighbor_count} neighbours, but data.{field} holds only "
                f"{n_patterns} patterns",
            )
