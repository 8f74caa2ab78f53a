"""Run directories as honest ranks leave them, whatever befalls them: without training anything."""

import hashlib
import json
from collections import defaultdict

import pytest

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.consumed import ConsumedRanges, expand
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan


class Killed(Exception):
    """The attempt is over."""


class HonestRun:
    """A run of several attempts that are killed, fail to commit, resume, and change their size.

    It keeps by itself, sample by sample, what was used and recorded; nothing of it goes through
    the code that reads ledgers.
    """

    def __init__(self, path, random, *, attempts=4, finish=False, ranks=None, calm=False):
        self.run = RunDirectory(path / "r-1")
        self.random = random
        self.samples = random.randint(1, 40) if not calm else 37
        self.epochs = random.randint(1, 3) if not calm else 3
        self.events = defaultdict(list)  # (attempt, rank) -> events
        self.checkpoints = {}  # step -> (attempt, position, whole)
        self.history = {}  # attempt -> (resumed step, resumed attempt) or None
        self.recorded = set()  # (attempt, rank, epoch, position)
        self.use_until = defaultdict(dict)  # attempt -> step -> set like `recorded`
        self.shape = (ranks or random.randint(1, 4), random.randint(1, 4), random.randint(1, 2))
        self.calm = calm
        self.result = None
        for number in range(1, attempts + 1):
            try:
                self._attempt(number, kills=not (finish and number == attempts))
            except Killed:
                self._damage()
                if not calm and random.random() < 0.3:
                    self.shape = (ranks or random.randint(1, 4), random.randint(1, 4), 1)
                continue
            break

    def chance(self, probability):
        return self.random.random() < probability

    def _say(self, attempt, rank, event, **fields):
        self.events[attempt, rank].append({"event": event, **fields})

    def _damage(self):
        whole = [step for step, kept in self.checkpoints.items() if kept[2]]
        if len(whole) > 1 and self.chance(0.4):
            attempt, position, _ = self.checkpoints[max(whole)]
            self.checkpoints[max(whole)] = (attempt, position, False)

    def _attempt(self, number, kills):
        ranks, batch, accum = self.shape
        found = max((step for step, kept in self.checkpoints.items() if kept[2]), default=None)
        assert found is not None or not self.checkpoints
        step, position = 0, 0
        self.history[number] = None
        for rank in range(ranks):
            self.events[number, rank] = []
        if found is not None:
            of_attempt, position, _ = self.checkpoints[found]
            step = found
            self.history[number] = (step, of_attempt)
            for rank in range(ranks):
                self._say(
                    number, rank, "resumed_from",
                    checkpoint=checkpoint_name(step), step=step, of_attempt=of_attempt,
                )  # fmt: skip
        self.use_until[number][step] = set()
        used, pending = set(), [defaultdict(ConsumedRanges) for _ in range(ranks)]
        epoch, sample = divmod(position, self.samples)
        if position < self.epochs * self.samples:
            for rank in range(ranks):
                if kills and self.chance(0.02):
                    raise Killed
                self._say(
                    number, rank, "training_started", step=step, epoch=epoch, sample=sample,
                    ranks=ranks, batch_size=batch, samples=self.samples,
                )  # fmt: skip
        while epoch < self.epochs:
            batches = 0
            while sample < self.samples:
                if kills and self.chance(0.03):
                    raise Killed
                count = min(batch * ranks, self.samples - sample)
                for rank in range(ranks):
                    start = sample + sum(self._share(count, r, ranks) for r in range(rank))
                    stop = start + self._share(count, rank, ranks)
                    pending[rank][epoch].add(start, stop)
                    used |= {(number, rank, epoch, each) for each in range(start, stop)}
                sample, batches = sample + count, batches + 1
                if sample < self.samples and batches % accum == 0:
                    step += 1
                    if self.chance(0.2):
                        self._commit(number, step, epoch, sample, pending, used, kills)
            step += 1
            if self.chance(0.3):  # the epoch is done, its validation is not
                self._commit(number, step, epoch, sample, pending, used, kills)
            last = epoch + 1 == self.epochs
            self._commit(number, step, epoch + 1, 0, pending, used, kills, must=last)
            epoch, sample = epoch + 1, 0
        self.result = {"attempt": number, "steps": step}
        for rank in range(ranks):
            if not self.chance(0.2):
                self._say(number, rank, "finished", step=step)

    @staticmethod
    def _share(count, rank, ranks):
        return count // ranks + (rank < count % ranks)

    def _commit(self, number, step, epoch, sample, pending, used, kills, must=False):
        while True:
            for rank, of_epochs in enumerate(pending):
                if kills and self.chance(0.02):
                    raise Killed
                for of_epoch, ranges in list(of_epochs.items()) or [(epoch, ConsumedRanges())]:
                    told = ranges.to_json()
                    self._say(number, rank, "consumed", step=step, epoch=of_epoch, ranges=told)
                    self.recorded |= {
                        (number, rank, of_epoch, each)
                        for start, stop in expand(told)
                        for each in range(start, stop)
                    }
            if kills and self.chance(0.05):
                raise Killed
            failed = not self.calm and self.chance(0.2)
            if failed and self.chance(0.5):
                if must or self.chance(0.5):
                    continue  # tried again at once
                return
            position = epoch * self.samples + sample
            self.checkpoints[step] = (number, position, True)
            self.use_until[number][step] = set(used)
            for newer in [each for each in self.checkpoints if each > step]:
                if self.chance(0.5):
                    del self.checkpoints[newer]
            if kills and self.chance(0.1):
                raise Killed
            if failed:  # it has come into its place, but the ranks were told otherwise
                if must:
                    continue
                return
            self._say(
                number, 0, "checkpoint_committed", step=step, epoch=epoch, sample=sample, seconds=1
            )
            for of_epochs in pending:
                of_epochs.clear()
            return

    # --- what must be found ------------------------------------------------------------------

    def end(self):
        """(attempt, step) of the weights that a person would use; None: there are none."""
        if self.result:
            return self.result["attempt"], self.result["steps"]
        whole = [step for step, kept in self.checkpoints.items() if kept[2]]
        return (self.checkpoints[max(whole)][0], max(whole)) if whole else None

    def lineage(self):
        """(attempt, from step, to step), oldest first."""
        parts, at = [], self.end()
        while at is not None:
            attempt, step = at
            at = self.history[attempt]
            parts.insert(0, (attempt, at[0] if at else 0, step))
            at = (at[1], at[0]) if at else None
        return parts

    def used(self):
        """(attempt, rank, epoch, position) of the lineage."""
        return set().union(*(self.use_until[attempt][to] for attempt, _, to in self.lineage()))

    def counted(self):
        """(attempt, rank, place of the event) of the records that commits of the lineage hold."""
        found = []
        for attempt, _, to in self.lineage():
            committed = {to} | {
                e["step"] for e in self.events[attempt, 0] if e["event"] == "checkpoint_committed"
            }
            for (of_attempt, rank), events in self.events.items():
                if of_attempt == attempt:
                    records = {
                        (e["step"], e["epoch"]): (attempt, rank, place)
                        for place, e in enumerate(events)
                        if e["event"] == "consumed" and e["ranges"]
                        and e["step"] <= to and e["step"] in committed
                    }  # fmt: skip
                    found += records.values()
        return found

    def copies(self, attempt, rank, place):
        """The event and those that repeat it, of commits that were tried again."""
        wanted = self.events[attempt, rank][place]
        return [e for e in self.events[attempt, rank] if e == wanted]

    # --- on the disk -------------------------------------------------------------------------

    def write(self):
        run = self.run
        for folder in (run.ledger, run.attempts, run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        names = (
            "nodes tasks_per_node ranks devices_per_node threads_per_rank batch_size accum_steps"
        )
        names += " global_batch micro_batches_per_epoch steps_per_epoch total_steps"
        world = {**dict.fromkeys(names.split(), 1), "samples": self.samples, "epochs": self.epochs}
        run.plan_json.write_text(json.dumps({"format": 1, "world": world}))
        run.run_json.write_text("{}")
        for attempt in self.history:
            (run.attempts / f"{attempt:03d}.json").write_text("{}")
        for (attempt, rank), events in self.events.items():
            who = {"time": 1.0, "attempt": attempt, "writer": f"rank-{rank:05d}"}
            text = "".join(json.dumps({**who, **event}) + "\n" for event in events)
            if self.chance(0.3):
                text += '{"time": 1.0, "att'
            (run.ledger / f"{attempt:03d}-rank-{rank:05d}.jsonl").write_text(text)
        for step, (attempt, _, whole) in self.checkpoints.items():
            folder = run.checkpoints / checkpoint_name(step)
            folder.mkdir(exist_ok=True)
            state = b"state"
            (folder / "state.ckpt").write_bytes(state if whole else b"stave")
            files = {"state.ckpt": {"bytes": 5, "sha256": hashlib.sha256(state).hexdigest()}}
            manifest = {"step": step, "attempt": attempt, "files": files}
            (folder / "manifest.json").write_text(json.dumps(manifest))
        if self.result:
            run.result_json.write_text(json.dumps(self.result))
        return run


@pytest.fixture(scope="session")
def honest_run():
    return HonestRun


@pytest.fixture
def make_run(make_config, tmp_path):
    def make(name="a-20260101-000000-0001", text="resources: {tasks_per_node: 2}"):
        loaded = read_run_config(make_config(text)).sound()
        plan = RunPlan(world=world_of(loaded.config, 37))
        return prepare_run(tmp_path / "runs" / name, loaded, plan, "#!/bin/bash\n")

    return make
