"""`data.stage_to`: one rank of each node copies, all read the copies, the last one removes them."""

import dataclasses
import json
import shutil
import threading
import time
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from waiting import HANG_S

from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.errors import RunError
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.runtime import staging
from ptycho_dist.runtime.staging import staged_data

TWO = """
reconstruct: true
training: {nepochs: 2, batch_size: 8}
resources: {tasks_per_node: 2}
"""


def events(run, kind):
    return [event for event in read_ledger(run) if event["event"] == kind]


@pytest.mark.effect("data.stage_to")
def test_the_copies_train_the_same_weights_and_are_gone_afterwards(
    make_config, launch, weights_of, scan_file, tmp_path
):
    """RD-260, RD-265, RD-266: the file itself is taken away as soon as training has begun; the
    reconstruction, which reads it again, and names it, has the copy."""
    source, disk = tmp_path / "source.npz", tmp_path / "disk"
    shutil.copy(scan_file, source)
    disk.mkdir()
    config = make_config("model: {n_filters_scale: 0.125}\n" + TWO)
    runs = {}
    for name, settings in {
        "plain": ("reconstruct=false",),
        "staged": ("data.stage_to=$DISK",),
    }.items():
        words = [word for text in settings for word in ("--set", text)]
        words += [
            "--set",
            f"data.train_data_file={source}",
            "--set",
            "environment.env.DISK=" + str(disk),
        ]
        root = tmp_path / name
        done = launch("submit", config, "--cluster", "local", "--runs-dir", root, *words)
        assert done.returncode == 0, done.stderr
        (path,) = root.iterdir()
        runs[name] = run = RunDirectory(path)
        deadline = time.monotonic() + HANG_S
        while not run.result_json.exists():
            assert time.monotonic() < deadline, launch("logs", run.path).stdout
            if name == "staged" and source.exists() and len(events(run, "training_started")) == 2:
                source.unlink()
            time.sleep(0.05)
    assert weights_of(runs["staged"]) == weights_of(runs["plain"])
    assert not source.exists()
    (staged,) = events(runs["staged"], "data_staged")
    assert staged["copied_bytes"] == scan_file.stat().st_size
    assert staged["node"] == events(runs["staged"], "joined")[0]["node"]
    assert len(events(runs["staged"], "staged_data_removed")) == 1
    assert list(disk.iterdir()) == []
    metrics = json.loads(runs["staged"].reconstruction_metrics.read_text())
    assert metrics["data_file"] == str(source)


class FakeRank:
    """A rank as `staged_data` sees it; the ranks of a test are threads with one store."""

    def __init__(self, world, rank):
        self.rank = rank
        self.world = world
        self.joined = SimpleNamespace(store=world.store, nodes=world.nodes, attempt=world.attempt)
        self.stop = SimpleNamespace(requested=False)
        self.heartbeat = SimpleNamespace(write=lambda state: None)
        self.ledger = SimpleNamespace(append=self.note)
        self.agreement = SimpleNamespace(vote=self.vote)
        self.alive_calls = 0
        self.noted = {}

    def note(self, event, **fields):
        self.noted[event] = fields

    def moved(self, where):
        pass

    def alive(self):
        self.alive_calls += 1

    def vote(self, *answers):
        self.world.answers[self.rank] = answers
        self.world.barrier.wait(HANG_S)
        together = [any(column) for column in zip(*self.world.answers.values(), strict=True)]
        return SimpleNamespace(result=lambda: together)


class FakeWorld:
    def __init__(self, run, attempt, nodes):
        self.run, self.attempt, self.nodes = run, attempt, nodes
        self.store = dist.HashStore()
        self.barrier = threading.Barrier(len(nodes))
        self.answers = {}
        self.ranks = [FakeRank(self, rank) for rank in range(len(nodes))]
        self.results = {}

    def start(self, configs):
        def live(rank):
            try:
                with staged_data(self.run, configs[rank.rank], rank) as here:
                    self.results[rank.rank] = here and here.data.train_data_file
            except RunError as error:
                self.results[rank.rank] = str(error)

        self.threads = [threading.Thread(target=live, args=(r,), daemon=True) for r in self.ranks]
        for thread in self.threads:
            thread.start()

    def finish(self):
        for thread in self.threads:
            thread.join(HANG_S)
        assert len(self.results) == len(self.ranks), "a rank waits for ever"
        return self.results


@pytest.fixture
def world(make_run, tmp_path, monkeypatch):
    """`world(nodes, places)`: started ranks, each with the place that its config names."""
    monkeypatch.setattr(staging, "POLL_S", 0.01)
    monkeypatch.setattr(staging, "PUBLISH_EVERY_S", 0.0)
    run = make_run("")
    attempt = begin_attempt(run, job_id="test", cluster="local", nodes=["here"])
    config = run.config()

    def make(nodes, places):
        made = FakeWorld(run, attempt, nodes)
        made.start(
            [
                dataclasses.replace(config, data=dataclasses.replace(config.data, stage_to=place))
                for place in places
            ]
        )
        return made

    return make


def test_each_node_copies_once_and_its_last_rank_removes(world, tmp_path):
    """RD-265, RD-266: nodes that share a place do not share a copy."""
    made = world(("a", "a", "b", "b"), [str(tmp_path)] * 4)
    copies = [path for _, path in sorted(made.finish().items())]
    assert copies[0] == copies[1] != copies[2] == copies[3]
    copied = [rank.rank for rank in made.ranks if "data_staged" in rank.noted]
    assert copied == [0, 2]
    assert sum("staged_data_removed" in rank.noted for rank in made.ranks) == 2
    assert list(tmp_path.glob("ptycho-dist-*")) == []


def test_a_node_that_cannot_ends_all_ranks_with_its_reason(world, tmp_path):
    """RD-264"""
    nowhere = str(tmp_path / "nowhere")
    made = world(("a", "b", "b"), [str(tmp_path), nowhere, nowhere])
    reasons = set(made.finish().values())
    assert len(reasons) == 1
    assert f"node b: data.stage_to: {nowhere}: no directory" in reasons.pop()
    assert list(tmp_path.glob("ptycho-dist-*")) == []


@pytest.fixture
def held(monkeypatch):
    """Copiers go on and on, as with a very large file, until they are let go."""
    let_go = threading.Event()
    real = staging.stage_files

    def hold(sources, fingerprints, folder, between):
        while not let_go.is_set():
            between()
            time.sleep(0.01)
        return real(sources, fingerprints, folder, between)

    monkeypatch.setattr(staging, "stage_files", hold)
    return let_go


def test_a_stop_while_a_node_copies_stops_all_without_a_copy(world, held, tmp_path):
    """RD-267: asked of a rank that only waits."""
    place = tmp_path / "disk"
    place.mkdir()
    made = world(("a", "a", "b"), [str(place)] * 3)
    made.ranks[1].stop.requested = True
    assert set(made.finish().values()) == {None}
    assert list(place.iterdir()) == []


def test_who_waits_shows_life_only_while_a_copier_goes_on(world, held, tmp_path, monkeypatch):
    """RD-267: a copier that stands still is left to the guard, which names it."""
    place = tmp_path / "disk"
    place.mkdir()
    made = world(("a", "a"), [str(place)] * 2)
    copier, waiter = made.ranks
    deadline = time.monotonic() + HANG_S
    while waiter.alive_calls < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.setattr(staging, "PUBLISH_EVERY_S", 3600.0)  # from here on nothing is said
    seen = -1
    while seen != waiter.alive_calls:  # what was said already is heard
        assert time.monotonic() < deadline
        seen = waiter.alive_calls
        time.sleep(0.3)
    held.set()
    assert len(set(made.finish().values())) == 1
    assert copier.alive_calls >= 3
