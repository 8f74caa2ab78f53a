"""Begins and ends attempts, the starts of a run; a new one fences off the attempts before it.

The batch script calls these functions before and after `srun` (`python -m ptycho_dist.attempts`),
and the local cluster does the same. Nothing else writes the record of an attempt.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from ptycho_dist.attempts.ending import ending_of
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE
from ptycho_dist.attempts.record import (
    AttemptEnd,
    AttemptRecord,
    Decision,
    attempt_numbers,
    create_attempt,
    read_attempt,
    read_attempts,
    record_path,
    write_attempt,
)
from ptycho_dist.attempts.restart import decide
from ptycho_dist.attempts.slurm_job import rendezvous_host
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, UserError
from ptycho_dist.rundir.layout import SUBDIRECTORIES, RunDirectory

PORTS = range(15_000, 30_000)
"""Ports for the store of rank 0; Linux hands out those from 32768 on by itself."""


@dataclass(frozen=True)
class Attempt:
    """What every rank of an attempt must know; passed in one environment variable."""

    number: int
    token: str
    host: str
    """Address of rank 0's store, or a name that the other nodes can resolve."""
    port: int
    ends_at: float | None = None
    """When the walltime is over, in seconds since the epoch; None: unknown."""

    def to_variable(self) -> str:
        """The value of PTYCHO_DIST_ATTEMPT: JSON on one line, without spaces."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_variable(cls, text: str) -> Attempt:
        """Read the value of PTYCHO_DIST_ATTEMPT.

        Raises:
            UserError: the text is not what `to_variable` wrote.
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
    def of_record(cls, record: AttemptRecord) -> Attempt:
        """What the ranks must know of an attempt that is recorded."""
        return cls(record.number, record.token, record.host, record.port, record.ends_at)


@dataclass(frozen=True)
class Ended:
    """What `end_attempt` found out and decided."""

    exit_code: int
    """Exit code of the job."""
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
    """Record a new attempt; from now on no earlier attempt may commit anything.

    Args:
        run: its directory.
        job_id: id of the SLURM job, or the text of the LocalProcess that answers for the run.
        cluster: `slurm` or `local`.
        nodes: names of the nodes, in the order of the ranks.
        host: where rank 0 opens its store; None: the address of this node.
        step: SLURM's number of the job step, by which the other ranks find the attempt.
        ends_at: when the walltime is over, in seconds since the epoch; None: unknown.
        signal_lead_s: seconds between SLURM's signal and the end of the walltime.
        restarted: whether the run starts again without a person.

    Raises:
        UserError: no port is free, or the directory of attempts cannot be read.
    """
    for name in SUBDIRECTORIES:  # a member of an array is made with only some of them
        with suppress(FileExistsError):  # a file in the way is reported by who needs the folder
            (run.path / name).mkdir(mode=0o700, exist_ok=True)
    host = host or rendezvous_host()
    token = secrets.token_hex(8)
    number = max(attempt_numbers(run), default=0)
    while True:
        number += 1
        by_a_person = "submit" if number == 1 else "resume"
        record = AttemptRecord(
            number=number,
            token=token,
            host=host,
            port=free_port(),
            ends_at=ends_at,
            job_id=job_id,
            cluster=cluster,
            nodes=tuple(nodes),
            step=step,
            signal_lead_s=signal_lead_s,
            cause="requeue" if restarted else by_a_person,
            started_at=time.time(),
        )
        if create_attempt(run, record):
            return Attempt.of_record(record)


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
    one has left: a stop on which all ranks had agreed can look like a kill. Therefore the ledger,
    in which the ranks say what they did, decides. The decision is recorded before anybody acts on
    it.

    Args:
        run: its directory.
        number: number of the attempt.
        exit_code: of srun or the local cluster; None: the batch script could not record the end,
            and a later start does.
        lost_nodes: nodes of the attempt that the scheduler reports as down.
        on_request: whether a person ended the attempt.
        by_itself: whether the caller would begin another attempt.

    Raises:
        UserError: a record or the config of the run is damaged.
    """
    records = read_attempts(run)
    record = next((each for each in records if each.number == number), None)
    if record is None:
        raise UserError(f"{record_path(run, number)}: no such file")
    now = time.time()
    ending = ending_of(
        run, record, exit_code, now=now, lost_nodes=lost_nodes, on_request=on_request
    )
    decision = Decision(False, "it was started by hand, so nothing starts it again")
    if by_itself:
        before = [each for each in records if each.number < number]
        now_ended = replace(record, end=AttemptEnd(now, exit_code, ending, None))
        decision = decide(run.config().requeue, [*before, now_ended])
    write_attempt(run, replace(record, end=AttemptEnd(now, exit_code, ending, decision)))
    codes = {"finished": 0, "stopped": EXIT_STOPPED, "cut_short": EXIT_STOPPED}
    return Ended(codes.get(ending.outcome, exit_code or EXIT_RUN_FAILED), decision)


def take_back_restart(run: RunDirectory, number: int, why: str) -> None:
    """Record that the restart on which `end_attempt` decided is not possible.

    Args:
        run: its directory.
        number: number of an attempt that has ended.
        why: the reason, in one line.
    """
    record = read_attempt(run, number)
    if record.end is not None:
        end = replace(record.end, decision=Decision(False, why))
        write_attempt(run, replace(record, end=end))


def holds_the_run(run: RunDirectory, attempt: Attempt) -> bool:
    """Whether no later attempt has begun; asked before every commit."""
    numbers = attempt_numbers(run)
    return bool(numbers) and read_attempt(run, numbers[-1]).token == attempt.token


def free_port() -> int:
    """A random port of PORTS on which nothing listens now.

    It is random so that two jobs on one node do not choose the same one.

    Raises:
        UserError: none of 50 ports is free.
    """
    for port in random.sample(PORTS, 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise UserError(f"no free port among 50 drawn from {PORTS.start}-{PORTS.stop - 1}")
