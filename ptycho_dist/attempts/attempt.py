"""Attempts: one record per start of a run, each with a token that fences off the ones before.

The batch script calls these functions at both ends of `srun` (`python -m ptycho_dist.attempts`),
the local cluster does the same. Either is the only writer of the attempt's record.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.attempts.ending import ending_of
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE
from ptycho_dist.attempts.restart import Decision, decide
from ptycho_dist.attempts.slurm_job import rendezvous_host
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, UserError
from ptycho_dist.rundir.files import json_bytes, read_json, write_bytes_atomic, write_json_atomic
from ptycho_dist.rundir.layout import SUBDIRECTORIES, RunDirectory

PORTS = range(15_000, 30_000)
"""Below the ports that the kernel hands out by itself (32768 and up on Linux)."""


@dataclass(frozen=True)
class Attempt:
    """What every rank of an attempt must know; travels in one environment variable."""

    number: int
    token: str
    host: str
    """Where rank 0 opens its store: an address or a name that the other nodes can resolve."""
    port: int
    ends_at: float | None = None
    """When the walltime is over, in seconds since the epoch; None: nobody says."""

    def to_variable(self) -> str:
        """The value of PTYCHO_DIST_ATTEMPT: JSON on one line, without spaces."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_variable(cls, text: str) -> Attempt:
        """Read PTYCHO_DIST_ATTEMPT.

        Raises:
            UserError: it is not what `to_variable` wrote.
        """
        try:
            data = json.loads(text)
            ends_at = data.get("ends_at")
            return cls(
                int(data["number"]),
                str(data["token"]),
                str(data["host"]),
                int(data["port"]),
                None if ends_at is None else float(ends_at),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{ATTEMPT_VARIABLE} is not an attempt: {text!r}") from None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Attempt:
        """Of what `read_attempts` gives."""
        return cls(
            record["number"],
            record["token"],
            record["host"],
            record["port"],
            record.get("ends_at"),
        )


@dataclass(frozen=True)
class Ended:
    """What follows the end of an attempt."""

    exit_code: int
    """Of the job."""
    decision: Decision


def begin_attempt(
    run: RunDirectory,
    *,
    job_id: str,
    cluster: str,
    nodes: list[str],
    host: str | None = None,
    step: str | None = None,
    ends_at: float | None = None,
    signal_lead_s: int | None = None,
    restarted: bool = False,
) -> Attempt:
    """Record a new start; from here on no earlier attempt may commit anything.

    Args:
        run: its directory.
        job_id: of SLURM, or the text of the LocalProcess that answers for the run.
        cluster: `slurm` or `local`.
        nodes: their names, in the order of ranks.
        host: where rank 0 opens its store; None: the address of this node.
        step: SLURM's number of the job step, by which its other ranks find the attempt.
        ends_at: when its walltime is over, in seconds since the epoch.
        signal_lead_s: of the plan.
        restarted: it starts by itself, not by a person.
    """
    for name in SUBDIRECTORIES:  # of a member of an array some are still missing
        with suppress(FileExistsError):  # a file in the way is named by who needs the folder
            (run.path / name).mkdir(mode=0o700, exist_ok=True)
    host = host or rendezvous_host()
    token = secrets.token_hex(8)
    number = max(map(_number, run.attempts.glob("[0-9]*.json")), default=0)
    while True:
        number += 1
        attempt = Attempt(number, token, host, free_port(), ends_at)
        record = {
            **asdict(attempt),
            "job_id": job_id,
            "cluster": cluster,
            "nodes": nodes,
            "step": step,
            "signal_lead_s": signal_lead_s,
            "cause": "requeue" if restarted else "submit" if number == 1 else "resume",
            "started_at": time.time(),
            "ended_at": None,
            "exit_code": None,
            "outcome": None,
        }
        draft = run.attempts / f".{token}.tmp"
        write_bytes_atomic(draft, json_bytes(record))
        try:
            # A link appears whole, and fails where another start was quicker.
            os.link(draft, run.attempts / f"{number:03d}.json")
        except FileExistsError:
            continue
        finally:
            draft.unlink()
        return attempt


def end_attempt(
    run: RunDirectory,
    number: int,
    exit_code: int | None,
    *,
    lost_nodes: Sequence[str] = (),
    on_request: bool = False,
    by_itself: bool = True,
) -> Ended:
    """Record how an attempt ended, and decide whether another follows.

    `exit_code` is that of srun, which kills the ranks that are still leaving when the first
    one has left: a stop on which all ranks had agreed can look like a kill. What the ranks
    committed to the ledger decides. The decision is recorded before anybody acts on it.

    Args:
        run: its directory.
        number: of the attempt.
        exit_code: None: its script could not record the end, and a later start does.
        lost_nodes, on_request: as in `ending_of`.
        by_itself: who calls would begin another attempt.
    """
    path = run.attempts / f"{number:03d}.json"
    record = read_json(path)
    now = time.time()
    ending = ending_of(
        run, record, exit_code, now=now, lost_nodes=lost_nodes, on_request=on_request
    )
    record |= {
        "ended_at": now,
        "exit_code": exit_code,
        "outcome": ending.outcome,
        "ending": asdict(ending),
    }
    before = [known for known in read_attempts(run) if known["number"] < number]
    decision = Decision(False, "it was started by hand, and so nothing starts it again")
    if by_itself:
        decision = decide(run.config().requeue, [*before, record])
    record["next"] = asdict(decision)
    write_json_atomic(path, record)
    codes = {"finished": 0, "stopped": EXIT_STOPPED, "cut_short": EXIT_STOPPED}
    return Ended(codes.get(ending.outcome, exit_code or EXIT_RUN_FAILED), decision)


def take_back_restart(run: RunDirectory, number: int, why: str) -> None:
    """Note that the restart on which `end_attempt` decided cannot be had."""
    path = run.attempts / f"{number:03d}.json"
    record = read_json(path)
    record["next"] = asdict(Decision(False, why))
    write_json_atomic(path, record)


def read_attempts(run: RunDirectory) -> list[dict[str, Any]]:
    """The records of all attempts, oldest first."""
    return [read_json(path) for path in sorted(run.attempts.glob("[0-9]*.json"), key=_number)]


def holds_the_run(run: RunDirectory, attempt: Attempt) -> bool:
    """Whether no later attempt has begun: to be asked before every commit."""
    newest = max(run.attempts.glob("[0-9]*.json"), key=_number, default=None)
    return newest is not None and read_json(newest).get("token") == attempt.token


def _number(path: Path) -> int:
    """By value, not by text: 1000.json comes after 999.json."""
    return int(path.stem)


def free_port() -> int:
    """A port of PORTS on which nothing listens now; two jobs on one node draw different ones."""
    for port in random.sample(PORTS, 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise UserError(f"no free port among 50 drawn from {PORTS.start}-{PORTS.stop - 1}")
