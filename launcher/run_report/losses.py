"""The epochs of a run: those that the committed weights come from, and those that were lost."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from launcher.run_report.events import Event, Events
from launcher.run_report.left_out import LeftOut
from ptycho_dist.proof.lineage import LineagePart
from ptycho_dist.rundir.checked_json import count, moment, number
from ptycho_dist.rundir.layout import RunDirectory

MOST_BYTES = 64 * 2**20
"""Largest metrics.csv that is read; a row has about 100 bytes."""

Standing = Literal["committed", "given_up", "open"]


@dataclass(frozen=True)
class EpochRow:
    """One epoch, as one attempt completed it."""

    epoch: int
    """Counted from 0."""
    step: int
    """Optimizer steps completed at its end, over the whole run."""
    train_loss: float | None
    """None: no finite number was recorded."""
    val_loss: float | None
    learning_rate: float | None
    seconds: float | None
    patterns_per_s: float | None
    """Rate of all ranks, validation and checkpoints included."""
    attempt: int | None
    """None: only metrics.csv holds the epoch."""
    at: float | None
    standing: Standing
    """committed: the weights include it; given_up: it was lost and has been or will be repeated;
    open: no committed checkpoint covers it yet."""


def read_epochs(
    run: RunDirectory,
    events: Events,
    lineage: Sequence[LineagePart] | None,
    working: int | None,
    left_out: LeftOut,
) -> tuple[EpochRow, ...]:
    """Read all completed epochs in the order of the attempts, lost ones included.

    Args:
        run: the run directory.
        events: the events of its ledger.
        lineage: the lineage of the committed weights; None: unknown, so metrics.csv decides.
        working: number of the attempt at work; None: there is none.
        left_out: receives a note of what cannot be read.
    """
    table = _table(run.metrics / "metrics.csv", left_out)
    rows = [each for event in events.of("epoch_finished") if (each := _of_event(event)) is not None]
    # Without a lineage, an epoch that was done several times counts where it was done last.
    last_of = {(each.epoch, each.step): place for place, each in enumerate(rows)}
    found = []
    for place, each in enumerate(rows):
        if lineage is not None:
            committed = any(_within(part, each) for part in lineage)
        else:
            key = (each.epoch, each.step)
            committed = last_of[key] == place and (not table or key in table)
        standing: Standing = "committed" if committed else "given_up"
        if not committed and each.attempt == working:
            standing = "open"
        found.append(_standing(each, standing))
    have = {each.epoch for each in found if each.standing == "committed"}
    known = () if lineage is None else lineage
    for each in table.values():
        part = next((p for p in known if p.from_step < each.step <= p.to_step), None)
        if each.epoch not in have and (lineage is None or part is not None):
            found.append(_standing(each, "committed", part.attempt if part else None))
    return tuple(sorted(found, key=lambda each: (each.attempt or 0, each.epoch)))


def _within(part: LineagePart, epoch: EpochRow) -> bool:
    return part.attempt == epoch.attempt and part.from_step < epoch.step <= part.to_step


def _standing(epoch: EpochRow, standing: Standing, attempt: int | None = None) -> EpochRow:
    return replace(epoch, standing=standing, attempt=epoch.attempt or attempt)


def _of_event(event: Event) -> EpochRow | None:
    epoch, step = count(event, "epoch"), count(event, "step")
    if epoch is None or step is None:
        return None
    return EpochRow(
        epoch=epoch,
        step=step,
        train_loss=_finite(number(event, "train_loss")),
        val_loss=_finite(number(event, "val_loss")),
        learning_rate=_finite(number(event, "learning_rate")),
        seconds=_finite(number(event, "seconds")),
        patterns_per_s=_finite(number(event, "patterns_per_s")),
        attempt=count(event, "attempt"),
        at=moment(event, "time"),
        standing="committed",
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _table(path: Path, left_out: LeftOut) -> dict[tuple[int, int], EpochRow]:
    """Epoch and step → row of metrics.csv."""
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        left_out.note(f"metrics/metrics.csv: {error.strerror}")
        return {}
    if len(content) > MOST_BYTES:
        left_out.note(f"metrics/metrics.csv: larger than {MOST_BYTES // 2**20} MiB")
        return {}
    rows: dict[tuple[int, int], EpochRow] = {}
    damaged = 0
    try:
        for row in csv.DictReader(io.StringIO(content.decode("utf-8", "replace"))):
            found = _of_event({name: _number(text) for name, text in row.items() if name})
            if found is None:
                damaged += 1
            else:
                rows[found.epoch, found.step] = found
    except csv.Error as error:
        left_out.note(f"metrics/metrics.csv: {error}")
    if damaged:
        left_out.note(f"metrics/metrics.csv: {damaged} rows without a valid epoch and step")
    return rows


def _number(text: object) -> int | float | None:
    if not isinstance(text, str) or len(text) > 40:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
