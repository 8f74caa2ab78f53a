"""Reads and writes attempts/NNN.json, the record of one start of a run.

The file is untrusted input: whoever reads it gets a checked record, or an error that names the file
and the field. Records of older versions lack some entries; their fields are then None or empty.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import LARGEST, LATEST, first_fault
from ptycho_dist.rundir.files import json_bytes, load_json, write_bytes_atomic
from ptycho_dist.rundir.layout import RunDirectory

Count = Annotated[int, Field(ge=0, lt=LARGEST)]
Moment = Annotated[float, Field(ge=0, lt=LATEST, allow_inf_nan=False)]
"""Seconds since the epoch."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended (RD-022, RS-031)."""

    outcome: str
    """`finished`; `stopped`: all ranks stopped with a checkpoint of one step; `cut_short`: they had
    to leave before that; or `failed`."""
    cause: str = ""
    """`finished`, `cancelled`, `mistake`, `timeout`, `preempt`, `node_fail` or `crash`; empty in an
    old record."""
    reason: str = ""
    """The cause in one line."""
    step: Count | None = None
    """The largest step that a rank is known to have reached."""
    committed_step: Count | None = None
    """Step of the newest checkpoint that the attempt committed or began from; 0: there is none."""
    node: str | None = None
    """Node on which the first rank failed, if known."""


@dataclass(frozen=True)
class Decision:
    """What follows the end of an attempt (RS-038)."""

    restart: bool
    """Whether the run starts again without a person."""
    why: str
    """The reason in one line, for people."""
    delay_s: Count = 0
    """Seconds to wait before the next attempt."""
    exclude: tuple[str, ...] = ()
    """Nodes that the next attempt must not get."""


@dataclass(frozen=True)
class AttemptEnd:
    """The part of a record that is written when the attempt ends."""

    ended_at: Moment
    exit_code: int | None
    """Exit code of srun or of the local cluster; None: the batch script was killed, and a later
    start recorded the end."""
    ending: Ending
    decision: Annotated[Decision | None, Field(alias="next")]
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
    token: str = ""
    """Random text that tells this attempt from all others."""
    host: str = ""
    """Where rank 0 opens its store."""
    port: Count = 0
    ends_at: Moment | None = None
    """When the walltime is over, in seconds since the epoch; None: unknown."""
    job_id: str
    """Id of the SLURM job, or text of a `LocalProcess`."""
    cluster: str
    """`slurm` or `local`."""
    nodes: tuple[str, ...]
    """Names of the nodes, in the order of the ranks."""
    step: str | None = None
    """Number of SLURM's job step, if rank 0 began the attempt."""
    signal_lead_s: Count | None = None
    """Seconds between SLURM's signal and the end of the walltime."""
    cause: str
    """What began the attempt: `submit`, `resume` (a person) or `requeue` (no person)."""
    started_at: Moment
    end: AttemptEnd | None = None
    """None: the attempt is running, or was killed before its end could be recorded."""

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
        content = load_json(where)
        if isinstance(content, dict):
            content = {"number": number, **content, "end": _end(content)}
        record = _adapter().validate_json(json.dumps(content), strict=True)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    except ValidationError as error:
        raise UserError(f"{where}: {first_fault(error)}; damaged") from None
    if record.number != number:
        raise UserError(f"{where}: number: must be {number}, found {record.number}; damaged")
    return record


def _end(content: dict[str, Any]) -> dict[str, Any] | None:
    """The entries that are written when the attempt ends, in the layout of an `AttemptEnd`."""
    if content.get("ended_at") is None:
        return None
    ending = content.get("ending") or {}
    if isinstance(ending, dict):
        ending = ending | {"outcome": content.get("outcome")}
    return {
        "ended_at": content["ended_at"],
        "exit_code": content.get("exit_code"),
        "ending": ending,
        "next": content.get("next") or None,
    }


@cache
def _adapter() -> TypeAdapter[AttemptRecord]:
    return TypeAdapter(AttemptRecord)
