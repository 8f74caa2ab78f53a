"""How the ranks find each other: all of them, or a clear end that names who is missing and why.

Rank 0 opens a store; each rank registers there with a hello; rank 0 waits for all, compares the
hellos and publishes one verdict. No collective runs before the verdict, so nothing can hang
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
from ptycho_dist.errors import JoinError, UserError
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.environment import RankEnvironment

POLL_S = 0.2
VERDICT_GRACE_S = 15
"""How much longer than rank 0 the others wait for its verdict."""
LINES_SHOWN = 8
"""Differences that the one line names; the table has them all."""


@dataclass(frozen=True)
class Hello:
    """What a rank says of itself when it registers; ranks must agree on `must_agree`."""

    rank: int
    node: str
    address: str | None
    """The address of this node's interface towards rank 0."""
    must_agree: dict[str, str]
    config: dict[str, str]
    """Field path → value, as JSON: looked at where the digests of the configs differ."""
    device_identity: str = ""
    """Of its GPU, which no other rank of the job may have."""


@dataclass(frozen=True)
class Joined:
    """A world that is complete: the store, and what all ranks share."""

    store: dist.Store
    attempt: Attempt
    other_node: str | None
    """An address by which this node reaches another one of the job; None: there is no other."""
    nodes: tuple[str, ...] = ()
    """Of all ranks, in rank order."""


def join_world(
    run: RunDirectory,
    environment: RankEnvironment,
    attempt: Attempt,
    hello: Hello,
    timeout_s: float,
) -> Joined:
    """Meet all other ranks of the job.

    Args:
        run: the run directory, where a rank that could not come has left its reason.
        environment: this rank's place.
        attempt: where rank 0 opens its store; its token must be the same on all ranks.
        hello: this rank's words.
        timeout_s: seconds from the first registration after which a missing rank is a failure.

    Raises:
        JoinError: on every rank that came, with the same message.
        UserError: rank 0's address cannot be resolved or reached from this rank.
    """
    if environment.rank == 0:
        store = _open_store(attempt, timeout_s)
    else:
        store = _reach_store(environment, attempt, timeout_s)
    said = asdict(hello)
    store.set(f"config/{environment.rank}", json.dumps(said.pop("config")))
    store.set(f"hello/{environment.rank}", json.dumps(said))
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
            raise JoinError(f"rank 0 left before it said who is missing: {_line(error)}") from None
        if problem:
            store.add("verdict-read", 1)
    if problem:
        raise JoinError(problem, table)
    return Joined(store, attempt, _address_of_another_node(store, environment), tuple(nodes))


def _address_of_another_node(store: dist.Store, environment: RankEnvironment) -> str | None:
    """Rank 0's node is reached by the others; it reaches the last rank's node in turn."""
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
            f"rank 0 cannot open its store at {attempt.host}:{attempt.port}: {_line(error)}"
        ) from None


def _reach_store(environment: RankEnvironment, attempt: Attempt, timeout_s: float) -> dist.Store:
    """Connect to rank 0, which may start later; a name that does not resolve ends it at once."""
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
        raise JoinError(f"the store of rank 0 at {address} went away: {_line(error)}") from None


def _judge(
    run: RunDirectory, world_size: int, attempt: Attempt, store: dist.Store, timeout_s: float
) -> tuple[str, str]:
    """Rank 0: wait for all hellos and compare them; what is wrong in a line and a table, or ""."""
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
        said = "it never started (no sign of life in heartbeat/)"
    else:
        age = time.time() - heartbeat.updated_at
        said = f"last seen on {heartbeat.node}, {heartbeat.state}, {age:.0f} s ago"
    where = _planned_node(run, rank)
    return f"rank {rank}{where} did not join within {timeout_s:.0f} s: {said}"


def _planned_node(run: RunDirectory, rank: int) -> str:
    nodes = read_attempts(run)[-1].nodes
    index = rank // run.world().tasks_per_node
    return f" on {nodes[index]}" if index < len(nodes) else ""


def _disagreement(hellos: list[Hello], store: dist.Store) -> tuple[str, str]:
    """Which ranks differ, and in what, in a line and a table; two empty texts: all agree."""
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
    more = f"; and {len(lines) - LINES_SHOWN} more" if len(lines) > LINES_SHOWN else ""
    line = f"the ranks differ: {'; '.join(lines[:LINES_SHOWN])}{more}"
    return line, as_table(found, _shown, node_of)


def _shared_gpu(hellos: list[Hello]) -> str:
    """Two ranks on one GPU: NCCL would refuse them, or hang, without saying so."""
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
    """The store dies with rank 0: stay until the ranks that came have read the verdict."""
    present = sum(store.check([f"hello/{rank}"]) for rank in range(1, world_size))
    deadline = time.monotonic() + 5
    while store.add("verdict-read", 0) < present and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[0].split())
