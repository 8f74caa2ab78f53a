"""Reads what the ledger files of the ranks say about samples: untrusted, checked, typed.

A line that is not JSON is what a full disk leaves of an event; the writer continues on the next
line. Such a line is kept as a hint and proves nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import count, short
from ptycho_dist.rundir.consumed import Progression, read_ranges
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import rank_writer

MOST_RANKS = 1_000_000
"""Largest number of ranks that is accepted."""
_NAME = re.compile(r"(\d{1,9})-rank-(\d{1,9})\.jsonl")


@dataclass(frozen=True)
class Started:
    """`training_started`: where a rank began, and how the ranks shared the samples."""

    step: int
    epoch: int
    sample: int
    ranks: int
    batch_size: int
    samples: int


@dataclass(frozen=True)
class Resumed:
    """`resumed_from`: the step of a checkpoint, and the attempt that committed it."""

    step: int
    of_attempt: int


@dataclass(frozen=True)
class Consumed:
    """`consumed`: what a rank used of one epoch since the last commit that succeeded."""

    step: int
    epoch: int
    ranges: list[Progression]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(each.samples for each in self.ranges)


@dataclass(frozen=True)
class Committed:
    """`checkpoint_committed`: a commit that succeeded, and its position in the samples."""

    step: int
    epoch: int
    sample: int


@dataclass
class RankRecord:
    """The ledger file of one rank in one attempt."""

    name: str
    """Path of the file, relative to the run directory."""
    events: int = 0
    """Number of events in it."""
    started: Started | None = None
    resumed: Resumed | None = None
    finished: int | None = None
    """Step at which the rank finished."""
    progress: list[Consumed | Committed] = field(default_factory=list)
    """Events in the order of the file."""
    faults: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Lines that are not events."""

    @property
    def committed(self) -> list[Committed]:
        """The commits among the events."""
        return [event for event in self.progress if isinstance(event, Committed)]


@dataclass
class AttemptEvents:
    """What the ranks of one attempt recorded."""

    ranks: dict[int, RankRecord] = field(default_factory=dict)
    """Rank → its ledger file."""

    @property
    def started(self) -> Started | None:
        """What the first rank that began training recorded; None: no rank did."""
        return next((r.started for _, r in sorted(self.ranks.items()) if r.started), None)

    @property
    def resumed(self) -> Resumed | None:
        """What the first rank that resumed recorded; None: the attempt began from zero."""
        return next((r.resumed for _, r in sorted(self.ranks.items()) if r.resumed), None)

    @property
    def committed(self) -> list[Committed]:
        """The commits that rank 0 recorded."""
        return self.ranks[0].committed if 0 in self.ranks else []


def read_rank_records(run: RunDirectory) -> tuple[dict[int, AttemptEvents], list[str]]:
    """Read the ledger files of all ranks.

    Returns:
        What was recorded, by the number of the attempt, and the faults of files whose names or
        writers are wrong.

    Raises:
        UserError: the ledger or a file of it cannot be read.
    """
    attempts: dict[int, AttemptEvents] = {}
    forged: list[str] = []
    try:
        paths = sorted(run.ledger.iterdir())
        for path in paths:
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            attempt, rank = int(match[1]), int(match[2])
            if path.name != f"{attempt:03d}-{rank_writer(rank)}.jsonl":
                forged.append(f"ledger/{path.name}: no rank writes a file of this name")
                continue
            record, stranger = _read(path, attempt, rank)
            if stranger is not None:
                forged.append(stranger)
            attempts.setdefault(attempt, AttemptEvents()).ranks[rank] = record
    except OSError as error:
        where = error.filename or run.ledger
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    return attempts, forged


def _read(path: Path, attempt: int, rank: int) -> tuple[RankRecord, str | None]:
    record = RankRecord(f"ledger/{path.name}")
    stranger: str | None = None
    # What follows the last line end is an event whose writer was killed.
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        where = f"{record.name}, line {number}"
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            if line.strip():
                record.torn.append(f"{where}: not JSON (torn or damaged)")
            continue
        if not isinstance(event, dict):
            record.torn.append(f"{where}: not an event")
            continue
        record.events += 1
        said = (event.get("attempt"), event.get("writer"))
        if said != (attempt, rank_writer(rank)):
            stranger = stranger or (
                f"{where}: an event of attempt {short(said[0])} and writer {short(said[1])}, "
                "which does not belong in this file"
            )
            continue
        try:
            _take(record, event)
        except ValueError as error:
            record.faults.append(f"{where}: {short(event.get('event'))}: {error}")
    return record, stranger


def _take(record: RankRecord, event: dict[str, Any]) -> None:
    name = event.get("event")
    if name == "training_started":
        started = Started(*_numbers(event, Started.__annotations__))
        if not (0 < started.ranks <= MOST_RANKS and started.batch_size and started.samples):
            raise ValueError(f"ranks 1 to {MOST_RANKS}, a batch size and samples are needed")
        _only_once(record.started, started)
        record.started = started
    elif name == "resumed_from":
        resumed = Resumed(*_numbers(event, Resumed.__annotations__))
        _only_once(record.resumed, resumed)
        record.resumed = resumed
    elif name == "consumed":
        step, epoch = _numbers(event, ("step", "epoch"))
        record.progress.append(Consumed(step, epoch, read_ranges(event.get("ranges"))))
    elif name == "checkpoint_committed":
        record.progress.append(Committed(*_numbers(event, Committed.__annotations__)))
    elif name == "finished":
        (record.finished,) = _numbers(event, ("step",))


def _only_once(before: object, now: object) -> None:
    if before is not None and before != now:
        raise ValueError(f"differs from the earlier one ({before})")


def _numbers(event: dict[str, Any], names: Iterable[str]) -> list[int]:
    found = []
    for name in names:
        value = count(event, name)
        if value is None:
            raise ValueError(f"{name} must be a whole number, found {short(event.get(name))}")
        found.append(value)
    return found
