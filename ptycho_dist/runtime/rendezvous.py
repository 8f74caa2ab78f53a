"""How the ranks find each other, or all end with a message that names who is missing and why.

Rank 0 opens a store. Each rank registers there with a hello. Rank 0 waits for all hellos, compares
them, and publishes its verdict. No collective runs before the verdict, so that nothing can hang
(guarantee G7, specs/run_directory.md RD-030 to RD-035).
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

import torch.distributed as dist

from ptycho_dist.attempts.attempt import Attempt
from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.differences import as_table, differing, in_words
from ptycho_dist.errors import JoinError, UserError, first_line
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.environment import RankEnvironment

POLL_S = 0.2
VERDICT_GRACE_S = 15
"""Seconds that the others wait for the verdict longer than rank 0 waits for them."""
DIFFERENCES_SHOWN = 8
"""Number of differences that the error line names; the table has them all."""


@dataclass(frozen=True)
class Hello:
    """What a rank publishes about itself when it registers."""

    rank: int
    node: str
    address: str | None
    """The address of this node's interface towards rank 0."""
    must_agree: dict[str, str]
    """Values that must be equal on all ranks, by what they are."""
    config: dict[str, str]
    """Value of each field of the config, as JSON; compared if the digests of the configs differ."""
    device_identity: str = ""
    """Identity of its GPU, which no other rank of the job may have; empty: see `Device`."""


@dataclass(frozen=True)
class JoinedWorld:
    """All ranks of a job after they have met, and the store in which they met."""

    store: dist.Store
    attempt: Attempt
    other_node: str | None
    """Address of another node of the job, reachable from this one; None: there is no other node."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes of all ranks, in rank order."""


def join_world(
    run: RunDirectory,
    environment: RankEnvironment,
    attempt: Attempt,
    hello: Hello,
    timeout_s: float,
) -> JoinedWorld:
    """Meet all other ranks of the job.

    Args:
        run: the run directory, in whose heartbeats a rank that cannot join has left its reason.
        environment: the place of this rank.
        attempt: names the address at which rank 0 opens its store.
        hello: what this rank publishes about itself.
        timeout_s: seconds after which a missing rank is a failure.

    Returns:
        The store, and what all ranks know of each other.

    Raises:
        JoinError: a rank is missing or differs; on every rank that joined, with the same message.
        UserError: the address of rank 0 cannot be resolved, or its store cannot be opened.
    """
    if environment.rank == 0:
        store = _open_store(attempt, timeout_s)
    else:
        store = _reach_store(environment, attempt, timeout_s)
    entries = asdict(hello)
    # the config apart from the rest, as it is read only if the ranks differ
    store.set(f"config/{environment.rank}", json.dumps(entries.pop("config")))
    store.set(f"hello/{environment.rank}", json.dumps(entries))
    if environment.rank == 0:
        problem, table = _judge(run, environment.world_size, attempt, store, timeout_s)
        known = () if problem else range(environment.world_size)
        nodes = [_hello(store, rank).node for rank in known]
        store.set("verdict", json.dumps([problem, table, nodes]))
        if problem:
            _let_others_read(store, environment.world_size)
    else:
        try:
            store.wait(["verdict"], timedelta(seconds=timeout_s + VERDICT_GRACE_S))
            problem, table, nodes = json.loads(store.get("verdict"))
        except (RuntimeError, dist.DistError) as error:
            raise JoinError(
                f"rank 0 left before it said who is missing: {first_line(error)}"
            ) from None
        if problem:
            store.add("verdict-read", 1)
    if problem:
        raise JoinError(problem, table)
    return JoinedWorld(store, attempt, _address_of_another_node(store, environment), tuple(nodes))


def _address_of_another_node(store: dist.Store, environment: RankEnvironment) -> str | None:
    """Return the address of rank 0's node, or on that node the one of the last rank's node."""
    last = _hello(store, environment.world_size - 1)
    first = _hello(store, 0)
    if first.node == last.node:
        return None
    return last.address if environment.node == first.node else first.address


def _open_store(attempt: Attempt, timeout_s: float) -> dist.Store:
    try:
        return dist.TCPStore(
            attempt.host,
            attempt.port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=timeout_s),
        )
    except (RuntimeError, dist.DistError) as error:
        raise UserError(
            f"rank 0 cannot open its store at {attempt.host}:{attempt.port}: {first_line(error)}"
        ) from None


def _reach_store(environment: RankEnvironment, attempt: Attempt, timeout_s: float) -> dist.Store:
    """Connect to rank 0, which may start later; fail at once if its name cannot be resolved."""
    address = f"{attempt.host}:{attempt.port}"
    try:
        socket.getaddrinfo(attempt.host, attempt.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(
            f"rank {environment.rank} on {environment.node} cannot resolve {attempt.host!r}, "
            f"the node of rank 0: {error.strerror}"
        ) from None
    deadline = time.monotonic() + timeout_s
    reason = "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((attempt.host, attempt.port), timeout=5):
                break
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(POLL_S)
    else:
        raise JoinError(
            f"rank 0 did not open its store at {address} within {timeout_s:.0f} s, as seen from "
            f"rank {environment.rank} on {environment.node}: {reason}"
        )
    try:
        return dist.TCPStore(
            attempt.host, attempt.port, is_master=False, timeout=timedelta(seconds=timeout_s)
        )
    except (RuntimeError, dist.DistError) as error:
        raise JoinError(
            f"the store of rank 0 at {address} went away: {first_line(error)}"
        ) from None


def _judge(
    run: RunDirectory, world_size: int, attempt: Attempt, store: dist.Store, timeout_s: float
) -> tuple[str, str]:
    """Wait for all hellos and compare them, on rank 0.

    Returns:
        What is wrong in one line, and as a table; two empty texts if nothing is.
    """
    deadline = time.monotonic() + timeout_s
    missing = list(range(world_size))
    while missing:
        missing = [rank for rank in missing if not store.check([f"hello/{rank}"])]
        failed = _failed_ranks(run, attempt, missing)
        if failed:
            return "; ".join(f"rank {rank}: {reason}" for rank, reason in failed.items()), ""
        if not missing:
            break
        if time.monotonic() > deadline:
            return "; ".join(_absence(run, attempt, rank, timeout_s) for rank in missing), ""
        time.sleep(POLL_S)
    hellos = [_hello(store, rank) for rank in range(world_size)]
    return _disagreement(hellos, store)


def _failed_ranks(run: RunDirectory, attempt: Attempt, missing: list[int]) -> dict[int, str]:
    heartbeats = read_heartbeats(run) if missing else {}
    return {
        rank: f"on {heartbeats[rank].node}: {heartbeats[rank].reason}"
        for rank in missing
        if rank in heartbeats
        and heartbeats[rank].state == "failed"
        and heartbeats[rank].attempt == attempt.number
    }


def _absence(run: RunDirectory, attempt: Attempt, rank: int, timeout_s: float) -> str:
    heartbeat = read_heartbeats(run).get(rank)
    if heartbeat is None or heartbeat.attempt != attempt.number:
        seen = "it never started (no sign of life in heartbeat/)"
    else:
        age = time.time() - heartbeat.updated_at
        seen = f"last seen on {heartbeat.node}, {heartbeat.state}, {age:.0f} s ago"
    where = _planned_node(run, rank)
    return f"rank {rank}{where} did not join within {timeout_s:.0f} s: {seen}"


def _planned_node(run: RunDirectory, rank: int) -> str:
    nodes = read_attempts(run)[-1].nodes
    index = rank // run.world().tasks_per_node
    return f" on {nodes[index]}" if index < len(nodes) else ""


def _disagreement(hellos: list[Hello], store: dist.Store) -> tuple[str, str]:
    """Return which ranks differ and in what, as a line and a table; two empty texts: none do."""
    shared = _shared_gpu(hellos)
    if shared:
        return shared, ""
    found = differing([hello.must_agree for hello in hellos])
    if "config" in found:
        of_ranks = [json.loads(store.get(f"config/{hello.rank}")) for hello in hellos]
        fields = differing(of_ranks)
        found = {key: groups for key, groups in found.items() if key != "config"} | fields
    if not found:
        return "", ""

    def node_of(rank: int) -> str:
        return hellos[rank].node

    lines = [in_words(key, groups, _shown, node_of) for key, groups in found.items()]
    more = f"; and {len(lines) - DIFFERENCES_SHOWN} more" if len(lines) > DIFFERENCES_SHOWN else ""
    line = f"the ranks differ: {'; '.join(lines[:DIFFERENCES_SHOWN])}{more}"
    return line, as_table(found, _shown, node_of)


def _shared_gpu(hellos: list[Hello]) -> str:
    """Return which ranks share a GPU, in words; NCCL would fail or hang without saying so."""
    holders: dict[str, Hello] = {}
    for hello in hellos:
        other = holders.setdefault(hello.device_identity or f"rank {hello.rank}", hello)
        if other is not hello:
            return (
                f"ranks {other.rank} and {hello.rank} on {hello.node} have the same GPU "
                f"({hello.device_identity}); set resources.gpus_per_node to the tasks per node, "
                "or bind one GPU to each task (--gpus-per-task=1)"
            )
    return ""


def _hello(store: dist.Store, rank: int) -> Hello:
    return Hello(**json.loads(store.get(f"hello/{rank}")), config={})


def _shown(value: str | None) -> str:
    text = "nothing" if value is None else value
    return text if len(text) <= 60 else f"{text[:57]}..."


def _let_others_read(store: dist.Store, world_size: int) -> None:
    """Wait until the ranks that joined have read the verdict, as the store ends with rank 0."""
    present = sum(store.check([f"hello/{rank}"]) for rank in range(1, world_size))
    deadline = time.monotonic() + 5
    while store.add("verdict-read", 0) < present and time.monotonic() < deadline:
        time.sleep(POLL_S)
