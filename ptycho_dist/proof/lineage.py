"""The lineage: the attempts that the committed weights come from, from the last back to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.errors import UserError
from ptycho_dist.proof.rank_records import AttemptEvents, Consumed
from ptycho_dist.rundir.checked_json import count
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory


@dataclass(frozen=True)
class LineagePart:
    """One attempt of a lineage; its steps after `from_step` and up to `to_step` count."""

    attempt: int
    from_step: int
    to_step: int


@dataclass(frozen=True)
class End:
    """The last commit of a lineage: its attempt and step."""

    attempt: int
    step: int
    finished: bool = False
    """Whether result.json names it; else a checkpoint does."""


def end_on_disk(run: RunDirectory) -> End | None:
    """The end of the run as result.json says, else as the checkpoint that a start would use says.

    Call it before the ledger is read: a run at work writes the ledger first.

    Returns:
        None if there is neither a result nor a whole checkpoint.

    Raises:
        UserError: result.json or the manifest of the checkpoint does not name attempt and step.
    """
    if run.result_json.exists():
        result = read_json(run.result_json)
        attempt, step = _named(result, "attempt"), _named(result, "steps")
        if attempt is None or step is None:
            raise UserError(f"{run.result_json}: does not name an attempt and its steps; damaged")
        return End(attempt, step, finished=True)
    try:
        checkpoint, _ = newest_whole(run)
    except UserError:  # all checkpoints are damaged or missing, but the ledger knows of them
        return None
    if checkpoint is None:
        return None
    manifest = checkpoint.manifest()
    attempt, step = _named(manifest, "attempt"), _named(manifest, "step")
    if attempt is None or step != checkpoint.step:
        raise UserError(f"{checkpoint.path}: the manifest names no attempt, or another step")
    return End(attempt, step)


def end_by_ledger(attempts: Mapping[int, AttemptEvents]) -> End | None:
    """The newest commit in the ledgers of the ranks; None: there is none."""
    for number in sorted(attempts, reverse=True):
        record = attempts[number]
        if record.committed:
            return End(number, record.committed[-1].step)
        if record.resumed is not None:
            return End(record.resumed.of_attempt, record.resumed.step)
    return None


def trace(attempts: Mapping[int, AttemptEvents], end: End) -> tuple[list[LineagePart], list[str]]:
    """Follow the lineage from its end back to the beginning of the training.

    Args:
        attempts: what the ranks recorded, by the number of the attempt.
        end: the last commit.

    Returns:
        The parts, oldest first, and the faults that stop the search before its beginning.
    """
    parts: list[LineagePart] = []
    attempt, step = end.attempt, end.step
    while True:
        if attempt not in attempts:
            parts.append(LineagePart(attempt, 0, step))
            return parts[::-1], [
                f"attempt {attempt}: no rank has a ledger file, but the checkpoint of step {step} "
                "is of this attempt"
            ]
        resumed = attempts[attempt].resumed
        if resumed is None:
            parts.append(LineagePart(attempt, 0, step))
            return parts[::-1], []
        parts.append(LineagePart(attempt, resumed.step, step))
        if resumed.of_attempt >= attempt or resumed.step > step:
            return parts[::-1], [
                f"attempt {attempt}: resumed from step {resumed.step} of attempt "
                f"{resumed.of_attempt} and committed step {step}, which is impossible"
            ]
        attempt, step = resumed.of_attempt, resumed.step


def given_up(attempts: Mapping[int, AttemptEvents], parts: list[LineagePart]) -> int:
    """Count the samples that were used but are not in the weights: the lost work.

    What a rank used after its last `consumed` event is not recorded, and so not counted.

    Args:
        attempts: what the ranks recorded, by the number of the attempt.
        parts: the lineage.
    """
    counts_up_to = {part.attempt: part.to_step for part in parts}
    lost = 0
    for number, attempt in attempts.items():
        limit = counts_up_to.get(number, -1)
        committed = {commit.step for commit in attempt.committed}
        for rank in attempt.ranks.values():
            samples: dict[int, dict[int, int]] = {}  # step → epoch → samples; a retry repeats them
            for event in rank.progress:
                if isinstance(event, Consumed) and event.ranges:
                    samples.setdefault(event.step, {})[event.epoch] = event.samples
            last = max(samples, default=-1)
            # A record repeats the samples of the records before it whose commits failed.
            recorded = _sum(samples, {*committed, last})
            kept = _sum(samples, {step for step in {*committed, limit} if step <= limit})
            lost += max(0, recorded - kept)
    return lost


def _sum(samples: Mapping[int, Mapping[int, int]], steps: set[int]) -> int:
    return sum(sum(samples[step].values()) for step in steps & samples.keys())


def _named(data: object, name: str) -> int | None:
    return count(data, name) if isinstance(data, dict) else None
