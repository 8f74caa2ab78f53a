"""The proof that each sample is used once per epoch (guarantee G4; RD-050 to RD-054).

Honest runs are proven, whatever was killed; a forged ledger is not, and the forgery is named.
"""

import json
import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ptycho_dist.errors import UserError
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.consumed import expand

randoms = st.integers(0, 2**32 - 1).map(Random)
many = settings(max_examples=100, deadline=None)


@pytest.fixture(scope="session")
def in_folder(honest_run):
    """`with in_folder(random) as honest`: a simulated run, not yet on the disk."""

    class Folder:
        def __init__(self, random, **kwargs):
            self.random, self.kwargs = random, kwargs

        def __enter__(self):
            self.path = Path(tempfile.mkdtemp())
            return honest_run(self.path, self.random, **self.kwargs)

        def __exit__(self, *_):
            shutil.rmtree(self.path)

    return Folder


@many
@given(random=randoms, finish=st.booleans(), attempts=st.integers(1, 6))
def test_honest_runs_are_proven_whatever_was_killed(in_folder, random, finish, attempts):
    """RS-040: RD-050, RD-051, RD-054"""
    with in_folder(random, finish=finish, attempts=attempts) as honest:
        run = honest.write()
        if honest.end() is None:
            with pytest.raises(UserError, match="nothing is committed yet"):
                verify(run)
            return
        proof = verify(run)
        assert proof.faults == ()
        assert [(p.attempt, p.from_step, p.to_step) for p in proof.lineage] == honest.lineage()
        used = honest.used()
        assert proof.whole_epochs * proof.samples + proof.cursor == len(used)
        assert len({(epoch, position) for _, _, epoch, position in used}) == len(used)
        assert proof.given_up == len(honest.recorded - used)


@many
@given(random=randoms, attempts=st.integers(1, 4))
def test_the_ledger_alone_is_enough_if_the_checkpoints_are_gone(in_folder, random, attempts):
    with in_folder(random, finish=True, attempts=attempts) as honest:
        assume(honest.result and honest.events[honest.result["attempt"], 0])
        run = honest.write()
        shutil.rmtree(run.checkpoints)
        run.result_json.unlink()
        proof = verify(run)
        assert proof.faults == ()
        assert (proof.whole_epochs, proof.cursor) == (honest.epochs, 0)


def singles(event):
    """The event's ranges one by one, so that one of them can be forged."""
    return [[start, stop - start, stop - start, 1] for start, stop in expand(event["ranges"])]


def shown(entry):
    start, length, *_ = entry
    return f"{start}-{start + length - 1}" if length > 1 else f"{start}"


def forged(honest, random, change):
    """Change one range of a record that counts; returns the rank and the range."""
    counted = honest.counted()
    assume(counted)
    attempt, rank, place = random.choice(counted)
    copies = honest.copies(attempt, rank, place)
    ranges = singles(copies[0])
    chosen = random.randrange(len(ranges))
    entry = list(ranges[chosen])
    change(ranges, chosen)
    for event in copies:
        event["ranges"] = ranges
    return attempt, rank, copies[0], entry


@many
@given(random=randoms)
def test_a_missing_range_is_named(in_folder, random):
    """RS-041"""
    with in_folder(random) as honest:
        attempt, rank, event, entry = forged(honest, random, lambda r, i: r.pop(i))
        faults = verify(honest.write()).faults
        positions = f"epoch {event['epoch']}: positions {shown(entry)} were not used by any rank"
        culprit = f"(rank {rank} of attempt {attempt} should have, before step {event['step']})"
        # the last range of a last commit without its event: the cursor is told by the ranks
        told = [e for e in honest.events[attempt, 0] if e["event"] == "checkpoint_committed"]
        assume(event["step"] in {e["step"] for e in told})
        assert faults == (f"{positions} {culprit}",)


@many
@given(random=randoms)
def test_a_range_used_twice_by_one_rank_is_named(in_folder, random):
    """RS-041"""
    with in_folder(random) as honest:
        attempt, rank, event, entry = forged(honest, random, lambda r, i: r.insert(i, list(r[i])))
        proof = verify(honest.write())
        assert proof.faults == (
            f"epoch {event['epoch']}: positions {shown(entry)} were used twice, each time by "
            f"rank {rank} of attempt {attempt} (step {event['step']})",
        )
        assert proof.whole_epochs < honest.epochs


@many
@given(random=randoms)
def test_a_range_used_by_two_is_named_with_both(in_folder, random):
    with in_folder(random) as honest:
        counted = honest.counted()
        assume(len(counted) > 1)
        one, other = random.sample(counted, 2)
        taken = random.choice(singles(honest.copies(*one)[0]))
        epoch = honest.copies(*one)[0]["epoch"]
        events = honest.copies(*other)
        assume(events[0]["epoch"] == epoch)
        more = [*events[0]["ranges"], taken]
        for event in events:
            event["ranges"] = more
        faults = verify(honest.write()).faults
        users = [
            f"rank {who[1]} of attempt {who[0]} (step {honest.copies(*who)[0]['step']})"
            for who in (one, other)
        ]
        assume(not any("no micro-batch" in fault for fault in faults))
        named = f"epoch {epoch}: positions {shown(taken)} were used twice: {' and '.join(users)}"
        assert faults == (named,)


@many
@given(random=randoms)
def test_two_ranges_swapped_between_ranks_are_named(in_folder, random):
    """RS-041"""
    with in_folder(random) as honest:
        by_commit = {}
        for who in honest.counted():
            event = honest.copies(*who)[0]
            by_commit.setdefault((who[0], event["step"], event["epoch"]), []).append(who)
        pairs = [(key, found) for key, found in by_commit.items() if len(found) > 1]
        assume(pairs)
        (attempt, _, epoch), found = random.choice(pairs)
        one, other = random.sample(found, 2)
        events = honest.copies(*one), honest.copies(*other)
        ranges = singles(events[0][0]), singles(events[1][0])
        at = random.randrange(len(ranges[0])), random.randrange(len(ranges[1]))
        first, second = ranges[0][at[0]], ranges[1][at[1]]
        ranges[0][at[0]], ranges[1][at[1]] = second, first
        for copies, changed in zip(events, ranges, strict=True):
            for event in copies:
                event["ranges"] = changed
        faults = verify(honest.write()).faults
        step = events[0][0]["step"]
        assert set(faults) == {
            f"epoch {epoch}: rank {who[1]} of attempt {attempt} (step {step}) recorded positions "
            f"{shown(did)} where the order gives it {shown(should)}"
            for who, did, should in ((one, second, first), (other, first, second))
        }


@many
@given(random=randoms)
def test_the_order_within_a_rank_counts(in_folder, random):
    with in_folder(random, ranks=2) as honest:
        found = [who for who in honest.counted() if len(singles(honest.copies(*who)[0])) > 1]
        assume(found)
        who = random.choice(found)
        copies = honest.copies(*who)
        ranges = singles(copies[0])
        first, second = ranges[0], ranges[1]
        for event in copies:
            event["ranges"] = [second, first, *ranges[2:]]
        (fault,) = verify(honest.write()).faults
        said = f"positions {shown(second)} where the order gives it {shown(first)}"
        assert f"rank {who[1]} of attempt {who[0]}" in fault
        assert said in fault


@many
@given(random=randoms)
def test_a_missing_file_is_named(in_folder, random):
    """RS-041"""
    with in_folder(random) as honest:
        counted = honest.counted()
        assume(counted)
        attempt, rank, _ = random.choice(counted)
        run = honest.write()
        (run.ledger / f"{attempt:03d}-rank-{rank:05d}.jsonl").unlink()
        proof = verify(run)
        alone = sum(of == attempt for of, _ in honest.events) == 1
        if alone:
            said = f"attempt {attempt}: no rank has a ledger file"
            assert any(fault.startswith(said) for fault in proof.faults)
        else:
            name = f"ledger/{attempt:03d}-rank-{rank:05d}.jsonl"
            assert f"rank {rank} of attempt {attempt}: {name} is missing" in proof.faults
        assert proof.whole_epochs == 0


@pytest.fixture
def calm(honest_run, tmp_path):
    """Three epochs of 37 samples on three ranks; attempt 1 was killed, attempt 2 has finished."""
    for seed in range(1000):
        honest = honest_run(tmp_path, Random(seed), attempts=2, finish=True, ranks=3, calm=True)
        if len(honest.lineage()) == 2 and all(a < b for _, a, b in honest.lineage()):
            return honest
    raise AssertionError("no seed gives such a run")


def test_a_copy_of_another_ranks_file_is_named(calm):
    run = calm.write()
    shutil.copy(run.ledger / "002-rank-00001.jsonl", run.ledger / "002-rank-00002.jsonl")
    faults = verify(run).faults
    assert faults[0].startswith("ledger/002-rank-00002.jsonl, line 1: an event of attempt 2 and")
    assert "'rank-00001'" in faults[0]


@pytest.mark.parametrize("name", ["2-rank-00001.jsonl", "002-rank-1.jsonl"])
def test_a_file_with_a_name_that_no_rank_writes_is_named(calm, name):
    run = calm.write()
    shutil.copy(run.ledger / "002-rank-00001.jsonl", run.ledger / name)
    assert verify(run).faults == (f"ledger/{name}: no rank writes a file of this name",)


def test_a_rank_too_many_is_named(calm):
    calm.events[2, 3] = [{**event} for event in calm.events[2, 2]]
    (fault,) = verify(calm.write()).faults
    assert fault == "rank 3 of attempt 2: ledger/002-rank-00003.jsonl exists, of 3 ranks"


def test_a_rank_without_an_event_is_named(calm):
    calm.events[2, 1] = []
    assert verify(calm.write()).faults[0] == (
        "rank 1 of attempt 2: no event in ledger/002-rank-00001.jsonl"
    )


def test_an_attempt_without_its_files_is_named(calm):
    run = calm.write()
    for path in run.ledger.glob("001-*"):
        path.unlink()
    (run.attempts / "001.json").unlink()
    faults = verify(run).faults
    assert faults[0].startswith("attempt 1: no rank has a ledger file")
    assert "attempt 1: attempts/001.json is missing" in faults


def test_a_record_after_its_commit_counts_twice(calm):
    """A copy before the commit is what a repeated commit leaves."""
    events = calm.events[2, 0]
    place = next(i for i, e in enumerate(events) if e["event"] == "consumed" and e["ranges"])
    events.insert(place, dict(events[place]))
    assert verify(calm.write()).faults == ()
    assert events[place + 2]["event"] == "checkpoint_committed"
    events.insert(place + 3, dict(events[place]))
    faults = verify(calm.write()).faults
    assert len(faults) == 1
    assert "were used twice" in faults[0]


def test_records_out_of_order_are_named(calm):
    events = calm.events[2, 1]
    records = [e for e in events if e["event"] == "consumed"]
    assert records[0]["step"] < records[-1]["step"]
    events.append(records[0])
    named = f"an event of step {records[0]['step']} after one of step {records[-1]['step']}"
    assert any(named in fault for fault in verify(calm.write()).faults)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_cursor_that_does_not_fit_is_named(calm, by):
    for rank in range(3):
        for event in calm.events[2, rank]:
            if event["event"] == "training_started":
                event["sample"] += by if event["sample"] else 1
    faults = verify(calm.write()).faults
    assert faults[0].startswith("attempt 2: began at epoch")
    assert "the commit before it stands at" in faults[0]


def test_a_plan_with_another_number_of_samples_is_named(calm):
    calm.samples += 1
    faults = verify(calm.write()).faults
    assert faults[0] == "attempt 1: 37 samples per epoch, the plan has 38"


def test_a_result_in_mid_epoch_is_named(calm):
    commits = [e for e in calm.events[2, 0] if e["event"] == "checkpoint_committed"]
    early = next(e for e in commits if e["sample"] not in (0, 37))
    calm.result["steps"] = early["step"]
    faults = verify(calm.write()).faults
    assert any("in the middle of the epoch" in fault for fault in faults)
    assert any(f"result.json says {early['step']}" in fault for fault in faults)


def test_many_faults_are_counted(calm):
    calm.events[2, 1] += [{"event": "finished", "step": "last"}] * 30
    faults = verify(calm.write()).faults
    assert len(faults) == 21
    assert faults[-1] == "and 10 more"


def test_neighbours_are_one_line(calm):
    attempt, _, to = calm.lineage()[0]
    for (of_attempt, _), events in calm.events.items():
        if of_attempt == attempt:
            events[:] = [e for e in events if e["event"] != "consumed" or e["epoch"] != 0]
    assert any(
        fault.startswith("epoch 0: positions 0-") and "(ranks 0-2 of attempt 1" in fault
        for fault in verify(calm.write()).faults
    ), to


def test_a_torn_line_is_a_hint_and_no_fault(calm):
    run = calm.write()
    path = run.ledger / "002-rank-00001.jsonl"
    path.write_text('{"time": 1.0, "at\n' + path.read_text())
    assert verify(run).proven
    (run.attempts / "001.json").unlink()
    assert verify(run).faults[-1] == (
        "ledger/002-rank-00001.jsonl, line 1: not JSON (torn or damaged)"
    )


@given(
    event=st.sampled_from(
        ["training_started", "resumed_from", "consumed", "checkpoint_committed", "finished"]
    ),
    field=st.sampled_from(
        ["step", "epoch", "sample", "ranks", "batch_size", "samples", "of_attempt", "ranges"]
    ),
    value=st.sampled_from(
        [None, "x", -1, 1.5, True, [], {}, 0, 10**6, 2**52, 10**30, [[0, 1]], [[0, 1, 2, 2**50]],
         [[0, 2**52, 2**52, 1]]]
    ),
    rank=st.integers(0, 2),
    seed=st.integers(0, 5),
)  # fmt: skip
@settings(max_examples=200)
def test_a_damaged_event_is_a_fault_and_no_crash(in_folder, event, field, value, rank, seed):
    """RD-004"""
    with in_folder(Random(seed), attempts=3, finish=True, ranks=3, calm=True) as honest:
        assume(honest.result)
        found = [
            e
            for attempt, _, to in honest.lineage()
            for e in honest.events[attempt, rank]
            if e["event"] == event and field in e and e.get("step", 0) <= to and e[field] != value
        ]
        assume(found and found[-1].get("ranges") != [])
        if event == "checkpoint_committed" and field == "step":
            assume(type(value) is not int or value < found[-1]["step"])  # later: work given up
        found[-1][field] = value
        faults = verify(honest.write()).faults
        assert faults
        assert all("\n" not in fault and len(fault) < 500 for fault in faults)


@pytest.mark.parametrize("value", [None, [], "x", {"attempt": "1", "steps": 2}, {"attempt": 1}])
def test_a_result_that_names_no_attempt_is_refused(calm, value):
    run = calm.write()
    run.result_json.write_text(json.dumps(value))
    with pytest.raises(UserError, match="does not name an attempt and its steps; damaged"):
        verify(run)


@pytest.mark.parametrize("value", ["37", 0, None, True, 2**60])
def test_a_plan_without_samples_is_refused(calm, value):
    calm.samples = value
    with pytest.raises(UserError, match=r"plan\.json: not a plan: world\.samples: .*damaged"):
        verify(calm.write())


def test_a_large_run_is_not_taken_apart(honest_run, tmp_path):
    """100 epochs of 10⁷ samples on 64 ranks: read as progressions, and one gap found in them."""
    samples, ranks, batch, epochs = 10**7, 64, 16, 100
    honest = honest_run(tmp_path, Random(0), attempts=0)
    honest.samples, honest.epochs, honest.history = samples, epochs, {1: None}
    width = ranks * batch
    full, rest = divmod(samples, width)
    assert rest == 640
    for rank in range(ranks):
        started = {"step": 0, "epoch": 0, "sample": 0, "ranks": ranks, "batch_size": batch}
        events = [{"event": "training_started", **started, "samples": samples}]
        ranges = [[rank * batch, batch, width, full], [full * width + rank * 10, 10, 10, 1]]
        for epoch in range(epochs):
            step = (epoch + 1) * (full + 1)
            events.append({"event": "consumed", "step": step, "epoch": epoch, "ranges": ranges})
            if rank == 0:
                cursor = {"step": step, "epoch": epoch + 1, "sample": 0}
                events.append({"event": "checkpoint_committed", **cursor})
        honest.events[1, rank] = events
    assert verify(honest.write()).faults == ()
    record = honest.events[1, 5][40]
    record["ranges"] = [[80, 16, width, 100], [80 + 101 * width, 16, width, full - 101],
                        record["ranges"][1]]  # fmt: skip
    proof = verify(honest.write())
    start = 80 + 100 * width
    assert proof.faults == (
        f"epoch 39: positions {start}-{start + 15} were not used by any rank (rank 5 of attempt 1 "
        f"should have, before step {record['step']})",
    )
    assert proof.whole_epochs == epochs - 1
