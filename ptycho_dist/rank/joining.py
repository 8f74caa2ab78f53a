"""How a rank joins the others: device, hello, rendezvous, process group."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from ptycho_dist.config.plain_data import config_digest, config_values
from ptycho_dist.data.planned import plan_digest, require_planned_data
from ptycho_dist.rank.started_rank import StartedRank
from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.runtime.accelerator import Device, resolve_device
from ptycho_dist.runtime.process_group import address_towards, open_process_group
from ptycho_dist.runtime.recorded_variables import recorded_variables
from ptycho_dist.runtime.rendezvous import Hello, JoinedWorld, join_world
from ptycho_dist.runtime.threads import set_threads
from ptycho_dist.runtime.versions import package_versions, torch_libraries
from ptycho_dist.training.loggers import require_logger


@dataclass(frozen=True)
class PreparedRank:
    """What a rank has found out about its own process and node."""

    device: Device
    threads: int
    """Intra-op threads that torch uses."""
    versions: dict[str, str]
    """Version of each package and library on which the result may depend."""


def prepare(started: StartedRank) -> PreparedRank:
    """Set the threads, and find the device and the versions of this rank.

    Raises:
        UserError: the logger's package or the device that the config asks for is missing.
    """
    execution, world = started.config.execution, started.plan.world
    require_logger(execution.logger_backend)
    threads = set_threads(world.threads_per_rank)
    device = resolve_device(
        execution.accelerator,
        local_rank=started.environment.local_rank,
        tasks_per_node=world.tasks_per_node,
        ranks=world.ranks,
    )
    started.start_up.spent("imports")
    return PreparedRank(device, threads, {**package_versions(), **torch_libraries()})


def join_others(started: StartedRank, prepared: PreparedRank) -> JoinedWorld:
    """Meet all other ranks, and compare with them what must be equal.

    Raises:
        JoinError: a rank is missing, or the ranks differ.
        UserError: rank 0 cannot be reached, or the data is not what the run was planned with.
    """
    started.heartbeat.write("joining")
    config, environment, device = started.config, started.environment, prepared.device
    hello = Hello(
        rank=environment.rank,
        node=environment.node,
        address=address_towards(started.attempt.host),
        must_agree={
            "accelerator": f"{device.kind} ({device.name})",
            "config": config_digest(config)[:16],
            "plan": plan_digest(started.run)[:16],
            **require_planned_data(started.run, config),
            "attempt": started.attempt.token,
            "threads per rank": str(prepared.threads),
            **prepared.versions,
        },
        config=config_values(config),
        device_identity=device.identity,
    )
    execution = config.execution
    joined = join_world(started.run, environment, started.attempt, hello, execution.join_timeout_s)
    # From here on a rank may wait at the store for as long as rank 0 is in a collective.
    joined.store.set_timeout(timedelta(seconds=execution.collective_timeout_s))
    return joined


def join_process_group(
    started: StartedRank, prepared: PreparedRank, joined: JoinedWorld, ledger: LedgerWriter
) -> None:
    """Record in the ledger how this rank has joined, and open torch's process group.

    One rank alone needs no group unless the config asks for DDP.
    """
    execution, environment, device = started.config.execution, started.environment, prepared.device
    grouped = started.plan.world.ranks > 1 or execution.strategy == "ddp"
    ledger.append(
        "joined",
        rank=environment.rank,
        node=environment.node,
        local_rank=environment.local_rank,
        pid=os.getpid(),
        source=environment.source,
        device=device.kind,
        device_name=device.name,
        strategy="ddp" if grouped else "single device",
        backend=device.backend if grouped else None,
        threads=prepared.threads,
        versions=prepared.versions,
        variables=recorded_variables(os.environ),
    )
    scope = started.scope
    ledger.append("legacy_scope", mode=scope.mode, address=scope.address, digest=scope.digest)
    if grouped:
        open_process_group(environment, joined, device.backend, execution.collective_timeout_s)
