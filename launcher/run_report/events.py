"""The ledger events of rank 0 and of the launcher, without damaged lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from launcher.run_report.left_out import LeftOut
from ptycho_dist.rundir.checked_json import count, moment
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LAUNCHER, rank_writer, read_ledger

_NAME = re.compile(r"(\d{3,9})-.*\.jsonl")
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Events:
    """Events of a ledger, ordered by time."""

    events: tuple[Event, ...]

    def of(self, *kinds: str, attempt: int | None = None) -> list[Event]:
        """The events of these kinds, in one attempt or in all."""
        return [
            event
            for event in self.events
            if event["event"] in kinds and attempt in (None, event["attempt"])
        ]

    def of_attempt(self, attempt: int) -> list[Event]:
        """All events of one attempt."""
        return [event for event in self.events if event["attempt"] == attempt]

    def first(self, kind: str, attempt: int) -> Event | None:
        """The first event of a kind in an attempt; None: there is none."""
        return next(iter(self.of(kind, attempt=attempt)), None)


def read_events(run: RunDirectory, left_out: LeftOut) -> Events:
    """Read the events of rank 0 (epochs, checkpoints) and of the launcher (cancellations)."""
    found: list[Event] = []
    try:
        names = [path.name for path in run.ledger.iterdir()]
    except OSError as error:
        left_out.note(f"the ledger: {run.ledger}: {error.strerror}")
        return Events(())
    numbers = {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}
    for number in sorted(numbers):
        for writer in (rank_writer(0), LAUNCHER):
            what = f"what {writer} says of attempt {number}"
            found += left_out.reading(what, partial(read_ledger, run, number, writer), [])
    sound = [
        event
        for event in found
        if isinstance(event["event"], str)
        and count(event, "attempt") is not None
        and moment(event, "time") is not None
    ]
    if len(sound) < len(found):
        left_out.note(f"the ledger: {len(found) - len(sound)} lines that are not valid events")
    return Events(tuple(sorted(sound, key=lambda event: float(event["time"]))))
