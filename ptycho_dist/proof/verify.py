"""Proves that the committed weights have used each sample once per epoch. Torch-free.

The proof reads what each rank recorded before each commit (specs/run_directory.md, RD-050 to
RD-054). The shares of the ranks tile a micro-batch, and the commits follow each other without a
gap. So it is proven if each rank recorded exactly its share of what each commit of the lineage
covers. Otherwise the positions that are missing or used twice are named.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from ptycho_dist.attempts.record import record_path
from ptycho_dist.errors import UserError
from ptycho_dist.proof.lineage import LineagePart, end_by_ledger, end_on_disk, given_up, trace
from ptycho_dist.proof.rank_records import read_rank_records
from ptycho_dist.proof.walk import Walk
from ptycho_dist.rundir.layout import RunDirectory

SHOWN_FAULTS = 20
"""Number of faults that are named; the others are counted."""
MOST_EPOCHS = 10_000_000
MOST_SAMPLES = 2**40
"""Most samples per epoch for which positions are computed."""


@dataclass(frozen=True)
class Proof:
    """What the ledger of a run proves, at one moment."""

    run_id: str
    faults: tuple[str, ...]
    """Why it is not proven; the last entry may count faults that are left out."""
    lineage: tuple[LineagePart, ...]
    """The attempts that the committed weights come from, oldest first."""
    whole_epochs: int
    """Number of epochs that are complete and proven."""
    cursor: int
    """Number of committed samples of the epoch that is not complete."""
    samples: int
    """Number of samples per epoch."""
    given_up: int
    """Number of samples that were used in vain: recorded, but not in the weights."""

    @property
    def proven(self) -> bool:
        """Whether each sample was used once in each epoch, up to the last commit."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Plain data for `verify --json`."""
        return {"proven": self.proven, **asdict(self)}


def verify(run: RunDirectory) -> Proof:
    """Compare the ledger of a run with the order of its samples.

    Args:
        run: its directory; the run may be at work.

    Raises:
        UserError: nothing is committed yet, or a file of the run directory cannot be read.
    """
    samples, epochs = _planned(run)
    end = end_on_disk(run)
    attempts, faults = read_rank_records(run)
    end = end or end_by_ledger(attempts)
    if end is None:
        raise UserError(f"{run.run_id}: nothing is committed yet, so there is nothing to verify")
    parts, broken = trace(attempts, end)
    walk = Walk(samples, epochs, attempts)
    walk.faults += [*faults, *broken]
    for part, following in zip_longest(parts, parts[1:]):
        if not record_path(run, part.attempt).exists():
            name = f"attempts/{part.attempt:03d}.json"
            walk.faults.append(f"attempt {part.attempt}: {name} is missing")
        if part.attempt in attempts:
            walk.follow(part, following)
    if end.finished:
        measures = run.plan().measurement is not None
        walk.require_finished(end.attempt, end.step, measured=measures)
    uncovered, bad = walk.coverage.examine(SHOWN_FAULTS)
    named = [*walk.faults, *uncovered]
    if named:
        named += walk.torn
    if len(named) > SHOWN_FAULTS + 1:
        named[SHOWN_FAULTS:] = [f"and {len(named) - SHOWN_FAULTS} more"]
    done, cursor = divmod(walk.position, samples)
    return Proof(
        run_id=run.run_id,
        faults=tuple(named),
        lineage=tuple(parts),
        whole_epochs=0 if walk.faults else done - sum(epoch < done for epoch in bad),
        cursor=cursor,
        samples=samples,
        given_up=given_up(attempts, parts),
    )


def _planned(run: RunDirectory) -> tuple[int, int]:
    world = run.world()
    for name, value, most in (
        ("samples", world.samples, MOST_SAMPLES),
        ("epochs", world.epochs, MOST_EPOCHS),
    ):
        if value > most:
            raise UserError(
                f"{run.plan_json}: world.{name} is {value}; the proof covers at most {most}"
            )
    return world.samples, world.epochs
