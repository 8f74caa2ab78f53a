"""Reads and writes attempts/NNN.json, the record of one start of a run.

The file is untrusted input: whoever reads it gets a checked record, or an error that names the file
and the field. Records of older versions lack some entries; their fields are then None or empty.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import (
    count,
    read_object,
    required_moment,
    required_object,
    required_text,
    short,
)
from ptycho_dist.rundir.files import json_bytes, write_bytes_atomic
from ptycho_dist.rundir.layout import RunDirectory


@dataclass(frozen=True)
class Ending:
    """How an attempt ended (RD-022, RS-031)."""

    outcome: str
    """`finished`; `stopped`: all ranks stopped with a checkpoint of one step; `cut_short`: they had
    to leave before that; or `failed`."""
    cause: str
    """`finished`, `cancelled`, `mistake`, `timeout`, `preempt`, `node_fail` or `crash`; empty in an
    old record."""
    reason: str
    """The cause in one line."""
    step: int | None
    """The largest step that a rank is known to have reached."""
    committed_step: int | None
    """Step of the newest checkpoint that the attempt committed or began from; 0: there is none."""
    node: str | None
    """Node on which the first rank failed, if known."""


@dataclass(frozen=True)
class Decision:
    """What follows the end of an attempt (RS-038)."""

    restart: bool
    """Whether the run starts again without a person."""
    why: str
    """The reason in one line, for people."""
    delay_s: int = 0
    """Seconds to wait before the next attempt."""
    exclude: tuple[str, ...] = ()
    """Nodes that the next attempt must not get."""


@dataclass(frozen=True)
class AttemptEnd:
    """The part of a record that is written when the attempt ends."""

    ended_at: float
    """Seconds since the epoch."""
    exit_code: int | None
    """Exit code of srun or of the local cluster; None: the batch script was killed, and a later
    start recorded the end."""
    ending: Ending
    decision: Decision | None
    """None in an old record."""

    @property
    def restarts(self) -> bool:
        """Whether another start was to follow by itself."""
        return self.decision is not None and self.decision.restart

    @property
    def why(self) -> str:
        """The reason for the decision; empty in an old record."""
        return "" if self.decision is None else self.decision.why


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt: how it began and, once it is over, how it ended."""

    number: int
    """1, 2, 3 ...; the name of the file."""
    token: str
    """Random text that tells this attempt from all others."""
    host: str
    """Where rank 0 opens its store."""
    port: int
    ends_at: float | None
    """When the walltime is over, in seconds since the epoch; None: unknown."""
    job_id: str
    """Id of the SLURM job, or text of a `LocalProcess`."""
    cluster: str
    """`slurm` or `local`."""
    nodes: tuple[str, ...]
    """Names of the nodes, in the order of the ranks."""
    step: str | None
    """Number of SLURM's job step, if rank 0 began the attempt."""
    signal_lead_s: int | None
    """Seconds between SLURM's signal and the end of the walltime."""
    cause: str
    """What began the attempt: `submit`, `resume` (a person) or `requeue` (no person)."""
    started_at: float
    """Seconds since the epoch."""
    end: AttemptEnd | None = None
    """None: the attempt is at work, or was killed before its end could be recorded."""

    def to_json(self) -> dict[str, Any]:
        """The content of attempts/NNN.json."""
        end = self.end
        content = {
            **{name: value for name, value in vars(self).items() if name != "end"},
            "nodes": list(self.nodes),
            "ended_at": None if end is None else end.ended_at,
            "exit_code": None if end is None else end.exit_code,
            "outcome": None if end is None else end.ending.outcome,
        }
        if end is not None:
            content["ending"] = asdict(end.ending)
            content["next"] = None if end.decision is None else asdict(end.decision)
        return content


def record_path(run: RunDirectory, number: int) -> Path:
    """The path of the record of an attempt."""
    return run.attempts / f"{number:03d}.json"


def write_attempt(run: RunDirectory, record: AttemptRecord) -> None:
    """Replace the record of an attempt as a whole."""
    write_bytes_atomic(record_path(run, record.number), json_bytes(record.to_json()))


def create_attempt(run: RunDirectory, record: AttemptRecord) -> bool:
    """Write the record of a new attempt unless there is one of its number.

    Returns:
        False: another process has taken the number.
    """
    draft = run.attempts / f".{record.token}.tmp"
    write_bytes_atomic(draft, json_bytes(record.to_json()))
    try:
        os.link(draft, record_path(run, record.number))  # appears whole, and never replaces a file
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def attempt_numbers(run: RunDirectory) -> list[int]:
    """The numbers of all attempts, ascending by value: 1000 comes after 999; no file is read.

    Raises:
        UserError: the directory cannot be read.
    """
    try:
        names = os.listdir(f"{run.path}/attempts")  # noqa: PTH208 - a thousand runs are listed
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{run.attempts}: cannot be read: {error.strerror}") from None
    stems = (name[:-5] for name in names if name.endswith(".json"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())


def read_attempts(run: RunDirectory) -> list[AttemptRecord]:
    """The records of all attempts, oldest first.

    Raises:
        UserError: one of them is damaged.
    """
    return [read_attempt(run, number) for number in attempt_numbers(run)]


def read_attempt(run: RunDirectory, number: int) -> AttemptRecord:
    """The record of one attempt.

    Raises:
        UserError: its file is missing or damaged.
    """
    where = f"{run.path}/attempts/{number:03d}.json"
    try:
        record = read_object(where)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    nodes, ends_at = record.get("nodes"), record.get("ends_at")
    if (found := record.get("number", number)) != number:
        raise UserError(f"{where}: `number` is {number}, found {short(found)}; damaged")
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise UserError(f"{where}: `nodes` is a list of names, found {short(nodes)}; damaged")
    return AttemptRecord(
        number=number,
        token=_text(record, "token"),
        host=_text(record, "host"),
        port=count(record, "port") or 0,
        ends_at=None if ends_at is None else required_moment(record, "ends_at", where),
        job_id=required_text(record, "job_id", where),
        cluster=required_text(record, "cluster", where),
        nodes=tuple(nodes),
        step=_text(record, "step") or None,
        signal_lead_s=count(record, "signal_lead_s"),
        cause=required_text(record, "cause", where),
        started_at=required_moment(record, "started_at", where),
        end=None if record.get("ended_at") is None else _end(record, where),
    )


def _end(record: Mapping[str, Any], where: str) -> AttemptEnd:
    code = record.get("exit_code")
    if code is not None and type(code) is not int:
        raise UserError(f"{where}: `exit_code` is a whole number, found {short(code)}; damaged")
    ending = required_object(record.get("ending") or {}, where)
    following = required_object(record.get("next") or {}, where)
    return AttemptEnd(
        ended_at=required_moment(record, "ended_at", where),
        exit_code=code,
        ending=Ending(
            outcome=required_text(record, "outcome", where),
            cause=_text(ending, "cause"),
            reason=_text(ending, "reason"),
            step=count(ending, "step"),
            committed_step=count(ending, "committed_step"),
            node=_text(ending, "node") or None,
        ),
        decision=_decision(following),
    )


def _decision(record: Mapping[str, Any]) -> Decision | None:
    restart, exclude = record.get("restart"), record.get("exclude")
    if not isinstance(restart, bool):
        return None
    names = exclude if isinstance(exclude, list) else []
    return Decision(
        restart,
        _text(record, "why"),
        count(record, "delay_s") or 0,
        tuple(name for name in names if isinstance(name, str)),
    )


def _text(record: Mapping[str, Any], name: str) -> str:
    """A text; empty: there is none."""
    value = record.get(name)
    return value if isinstance(value, str) else ""
