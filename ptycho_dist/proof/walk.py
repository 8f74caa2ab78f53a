"""Goes along a lineage, commit by commit, and compares what the ranks recorded with the order."""

from __future__ import annotations

from collections.abc import Mapping

from ptycho_dist.proof.coverage import Coverage, Piece, User
from ptycho_dist.proof.lineage import LineagePart
from ptycho_dist.proof.rank_records import AttemptEvents, Committed, RankRecord, Started
from ptycho_dist.rundir.consumed import Progression, join

Records = dict[tuple[int, int], list[Progression]]
"""(step, epoch) → what one rank used of that epoch before the commit of that step."""


class Walk:
    """Compares the attempts of a lineage, oldest first, with the plan and with each other."""

    def __init__(self, samples: int, epochs: int, attempts: Mapping[int, AttemptEvents]) -> None:
        self._samples = samples
        self._epochs = epochs
        self._attempts = attempts
        self.position = 0
        """Number of samples of the lineage so far, over all epochs."""
        self.coverage = Coverage()
        self.faults: list[str] = []
        self.torn: list[str] = []

    def follow(self, part: LineagePart, following: LineagePart | None) -> None:
        """Check the next attempt of the lineage.

        Args:
            part: the attempt.
            following: the attempt that resumed from it; None: it is the last.
        """
        record = self._attempts[part.attempt]
        for _, rank in sorted(record.ranks.items()):
            self.faults += rank.faults
            self.torn += rank.torn
        started = record.started
        self._require_all_ranks(part, record, started)
        if started is None:
            if part.to_step != part.from_step:
                self.faults.append(
                    f"attempt {part.attempt}: no rank recorded training_started, but the "
                    f"checkpoint of step {part.to_step} is of this attempt"
                )
            return  # the training was complete when the attempt began
        self._begin(part, started)
        commits = self._commits(part, record)
        after = self._attempts[following.attempt].started if following else None
        if part.to_step not in commits and after is not None:
            position = self._linear(after.epoch, after.sample)
            if self._fits(position, after.sample):  # else `_begin` of that attempt names it
                commits[part.to_step] = position
        ranks = {
            number: self._records(part, number, rank, {*commits, part.to_step})
            for number, rank in sorted(record.ranks.items())
            if number < started.ranks
        }
        if part.to_step not in commits:  # rank 0 was killed between the commit and its event
            commits[part.to_step] = self._furthest(started, part.to_step, ranks)
        if 0 in record.ranks:
            for step in sorted(commits):
                self._compare(part, started, step, commits[step], ranks)
        else:  # without the ledger of rank 0 it is unknown which commits succeeded
            self.position = max(self.position, commits[part.to_step])

    def require_finished(self, attempt: int, step: int, *, measured: bool) -> None:
        """Check the end of a run that has finished.

        It must have whole epochs, unless it only measured, and its ranks must have finished at the
        step of its result.

        Args:
            attempt: the last attempt.
            step: the step of the result.
            measured: whether the run ends when it has measured.
        """
        if self.position % self._samples and not measured:
            self.faults.append(
                f"result.json says that the run has finished; its last commit is at "
                f"{self._where(self.position)}, in the middle of the epoch"
            )
        record = self._attempts.get(attempt, AttemptEvents())
        for rank, found in sorted(record.ranks.items()):
            if found.finished not in (None, step):
                self.faults.append(
                    f"rank {rank} of attempt {attempt}: finished at step {found.finished}, "
                    f"result.json says {step}"
                )

    def _require_all_ranks(
        self, part: LineagePart, record: AttemptEvents, started: Started | None
    ) -> None:
        attempt = part.attempt
        for number, rank in sorted(record.ranks.items()):
            who = f"rank {number} of attempt {attempt}"
            if started is not None and number >= started.ranks:
                self.faults.append(f"{who}: {rank.name} exists, of {started.ranks} ranks")
            elif not rank.events:
                self.faults.append(f"{who}: no event in {rank.name}")
            elif rank.started != started:
                said = "no training_started" if rank.started is None else str(rank.started)
                self.faults.append(f"{who}: {said}; another rank recorded {started}")
            if rank.events and rank.resumed != record.resumed:
                said = "no resumed_from" if rank.resumed is None else str(rank.resumed)
                self.faults.append(f"{who}: {said}; another rank recorded {record.resumed}")
        if started is None:
            return
        absent = [number for number in range(started.ranks) if number not in record.ranks]
        for number in absent[:3]:
            name = f"ledger/{attempt:03d}-rank-{number:05d}.jsonl"
            self.faults.append(f"rank {number} of attempt {attempt}: {name} is missing")
        if len(absent) > 3:
            self.faults.append(f"{len(absent) - 3} more ranks of attempt {attempt} have no ledger")

    def _begin(self, part: LineagePart, started: Started) -> None:
        who = f"attempt {part.attempt}"
        if started.samples != self._samples:
            self.faults.append(
                f"{who}: {started.samples} samples per epoch, the plan has {self._samples}"
            )
        if started.step != part.from_step:
            self.faults.append(
                f"{who}: began at step {started.step}, its checkpoint is of step {part.from_step}"
            )
        begun = self._linear(started.epoch, started.sample)
        if not self._fits(begun, started.sample):
            self.faults.append(
                f"{who}: began at {_at(started.epoch, started.sample)}, which the plan does not "
                f"have ({self._epochs} epochs of {self._samples} samples)"
            )
        elif begun != self.position:
            what = "not used by any rank" if begun > self.position else "used twice"
            low, high = sorted((begun, self.position))
            self.faults.append(
                f"{who}: began at {_at(started.epoch, started.sample)}, the commit before it "
                f"stands at {self._where(self.position)}: from {self._where(low)} to "
                f"{self._where(high)} all samples were {what}"
            )
            self.position = begun

    def _commits(self, part: LineagePart, record: AttemptEvents) -> dict[int, int]:
        """Step → number of samples of the lineage after it, for the commits that count."""
        found: dict[int, int] = {}
        for commit in record.committed:
            if commit.step > part.to_step:
                continue
            position = self._linear(commit.epoch, commit.sample)
            if commit.step < part.from_step or found.get(commit.step, position) != position:
                self.faults.append(
                    f"attempt {part.attempt}: committed step {commit.step} at "
                    f"{_at(commit.epoch, commit.sample)}, which does not follow the commit before"
                )
            elif not self._fits(position, commit.sample):
                self._say_unfit(part, commit.step, commit.epoch, commit.sample)
            else:
                found[commit.step] = position
        return found

    def _records(
        self, part: LineagePart, number: int, rank: RankRecord, steps: set[int]
    ) -> Records:
        """What a rank used before each of these commits.

        A commit that is tried again is recorded again; equal records before its success are one.
        """
        found: Records = {}
        committed: set[int] = set()
        latest = part.from_step
        for event in rank.progress:
            if event.step < latest:
                self.faults.append(
                    f"{rank.name}: an event of step {event.step} after one of step {latest}"
                )
            latest = max(latest, event.step)
            if isinstance(event, Committed):
                committed.add(event.step)
                continue
            if event.step not in steps or not event.ranges:
                continue
            key = (event.step, event.epoch)
            joined: list[Progression] = []
            for entry in event.ranges:
                join(joined, entry)
            if event.epoch >= self._epochs:
                self.faults.append(
                    f"{rank.name}: used samples of epoch {event.epoch}, but there are "
                    f"{self._epochs} epochs"
                )
            elif event.step in committed:
                user = User(part.attempt, number, event.step)
                self.coverage.add_extra(user, event.epoch, joined)
            else:
                if found.get(key, joined) != joined:
                    self.faults.append(
                        f"{rank.name}: two records of step {event.step} and epoch {event.epoch} "
                        "differ"
                    )
                found[key] = joined
        return found

    def _compare(
        self, part: LineagePart, started: Started, step: int, until: int, ranks: dict[int, Records]
    ) -> None:
        if until < self.position:
            self.faults.append(
                f"attempt {part.attempt}: the commit of step {step} stands at "
                f"{self._where(until)}, before {self._where(self.position)}"
            )
            return
        epoch, sample = divmod(until, self._samples)
        origin = self._origin(started, epoch)
        if sample and (sample - origin) % (started.batch_size * started.ranks):
            self._say_unfit(part, step, epoch, sample)
        due: set[int] = set()
        while self.position < until:
            epoch, start = divmod(self.position, self._samples)
            stop = min(self._samples, start + until - self.position)
            piece = Piece(epoch, start, stop, part.attempt, step, started.ranks, started.batch_size)
            self.coverage.compare(
                piece, ((number, of.get((step, epoch), [])) for number, of in ranks.items())
            )
            due.add(epoch)
            self.position += stop - start
        for number, records in ranks.items():
            for (of_step, of_epoch), recorded in records.items():
                if of_step == step and of_epoch not in due:
                    user = User(part.attempt, number, step)
                    self.coverage.add_extra(user, of_epoch, recorded)

    def _furthest(self, started: Started, step: int, ranks: dict[int, Records]) -> int:
        """The end of the micro-batch that contains the last position recorded for a step."""
        furthest = self.position
        width = started.batch_size * started.ranks
        for records in ranks.values():
            for (of_step, epoch), recorded in records.items():
                if of_step == step:
                    origin = self._origin(started, epoch)
                    used = max(entry.stop for entry in recorded) - origin
                    end = min(self._samples, origin - (-used // width) * width)
                    furthest = max(furthest, self._linear(epoch, end))
        return furthest

    def _origin(self, started: Started, epoch: int) -> int:
        """The position at which the micro-batches of an attempt begin in an epoch."""
        first, sample = divmod(self._linear(started.epoch, started.sample), self._samples)
        return sample if epoch == first else 0

    def _linear(self, epoch: int, sample: int) -> int:
        """The position over all epochs; the end of an epoch is the beginning of the next."""
        return epoch * self._samples + sample

    def _fits(self, position: int, sample: int) -> bool:
        return sample <= self._samples and position <= self._epochs * self._samples

    def _where(self, position: int) -> str:
        return _at(*divmod(position, self._samples))

    def _say_unfit(self, part: LineagePart, step: int, epoch: int, sample: int) -> None:
        self.faults.append(
            f"attempt {part.attempt}: the commit of step {step} stands at {_at(epoch, sample)}, "
            "where no micro-batch of this run ends"
        )


def _at(epoch: int, sample: int) -> str:
    return f"epoch {epoch}, sample {sample}"
