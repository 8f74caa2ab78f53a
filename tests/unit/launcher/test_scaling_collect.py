"""What the runs of a study have measured (specs/scaling_study.md, SC-016 to SC-019)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_html import ReadPage

from launcher.arrays.prepare import prepare_array
from launcher.pages.html import render_page
from launcher.run_report.facts import read_run_facts
from launcher.run_report.page import page_of
from launcher.scaling.analysis.analyse import analyse
from launcher.scaling.analysis.results import Collected
from launcher.scaling.collect import collect
from launcher.scaling.report.figures import study_figures
from launcher.scaling.report.provenance import provenance_of
from launcher.scaling.report.study_page import study_page
from launcher.scaling.study.plan import plan_study
from launcher.scaling.study.request import parse_request
from launcher.scaling.study.study_json import read_study, study_record
from launcher.timing.attribution import STEP_PARTS
from launcher.timing.start_up import STAGE_NAMES, Occupied, queue_s
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.ledger import LedgerWriter, rank_writer
from ptycho_dist.rundir.step_times import PHASES, Block, block_record

T0 = 1_700_000_000.0
PARTS = dict.fromkeys(PHASES, 0.0)


def block(step, seconds=1.0, steps=1, **parts):
    rest = seconds - sum(parts.values())
    own = {**PARTS, "forward_backward": rest, **parts}
    return Block(step, steps, 8 * steps, T0 + step, seconds, own)


class Writer:
    """What launcher, script and ranks leave of a study."""

    def __init__(self, array):
        self.array = array
        self.runs = [member.run for member in array.read()[1]]

    def job(self, index, *, job_id="7", at=T0):
        job = {"job_id": job_id, "cluster": "slurm", "submitted_at": at}
        record = {"format": 1, "jobs": [job]}
        write_json_atomic(self.runs[index].submission_json, record)

    def attempt(self, index, number=1, *, began, ended, finished=True, job_id="7", nodes=("n1",)):
        run = self.runs[index]
        run.attempts.mkdir(exist_ok=True)
        record = {
            "job_id": job_id, "cluster": "slurm", "nodes": list(nodes), "started_at": began,
            "cause": "submit",
        }  # fmt: skip
        if ended is not None:
            outcome = "finished" if finished else "stopped"
            record |= {"ended_at": ended, "exit_code": 0 if finished else 75, "outcome": outcome}
        write_json_atomic(run.attempts / f"{number:03d}.json", record)
        if finished:
            self.result(index, {})

    def result(self, index, measured, **more):
        self.runs[index].result_json.write_text(json.dumps({"measured": measured, **more}))

    def times(self, index, number, rank, blocks, **facts):
        folder = self.runs[index].metrics / "steps"
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "kind": "rank", "node": "n1", "machine": "m1", "cores": 2, "threads": 1,
            "device": "cpu", "started_at": T0 + 11, "start_up_s": {"imports": 3.0 + rank},
            **facts,
        }  # fmt: skip
        usage = {"kind": "usage", "host_peak_bytes": 1000 + rank, "gpu_utilisation": 0.5 + rank / 4}
        lines = [facts, *map(block_record, blocks), usage]
        path = folder / f"{number:03d}-rank-{rank:05d}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """What tests/unit/launcher/test_arrays.py and test_code_state.py are about takes long."""
    monkeypatch.setattr("launcher.arrays.prepare._make_durable", lambda path: None)
    monkeypatch.setattr("launcher.control.code_state.OwnCode.record", lambda code, run: None)


@pytest.fixture
def study(make_config, tmp_path):
    """`study()`: one of one and of two ranks, prepared; nothing has happened to it yet."""

    def make(**flags):
        text = "training: {batch_size: 4}\nresources: {nodes: 1, tasks_per_node: 1}\n"
        flags = {"steps": 4, "warm_up": 2, "repeats": 1, **flags}
        request = parse_request(nodes="1,2", **flags)
        runs = tmp_path / "runs"
        planned = plan_study(make_config(text), [], request, "slurm", runs)
        records = {"study.json": study_record(planned.study)}
        array = prepare_array(planned.array, runs, records)
        return Writer(array), {point.ranks: point.index for point in planned.study.points}

    return make


def test_a_point_has_measured_the_steps_after_the_warm_up(study):
    """SC-016, SC-019"""
    written, index = study()
    two = index[2]
    written.job(two)
    written.attempt(two, began=T0 + 10, ended=T0 + 30, nodes=("n1", "n2\x1b[2J"))
    for rank in range(2):
        blocks = [block(step, 9.0 if step < 2 else 1.0) for step in range(6)]
        written.times(two, 1, rank, blocks, node=f"n{rank}")
    found = collect(written.array)
    (measured,) = found.measured
    assert (measured.point.ranks, measured.attribution.ranks) == (2, 2)
    assert (measured.attribution.steps, measured.attribution.wall_s) == (4, 4.0)
    assert measured.attribution.samples_per_s == pytest.approx(16.0)
    assert measured.start_up_s == {"queue": 10.0, "launch": 1.0, "imports": 4.0}
    assert (measured.job_s, measured.attempts) == (20.0, 1)
    assert measured.goodput == 1.0  # 22 s of steps in 20 s: clocks differ, and no more than all
    assert (measured.host_peak_bytes, measured.device_peak_bytes) == (1001, None)
    assert measured.gpu_utilisation == pytest.approx(0.625)
    assert (measured.machines, measured.cores, measured.threads) == (1, 2, 2)
    assert (measured.device, measured.nodes) == ("cpu", ("n1", "n2"))
    assert not measured.oversubscribed
    (missing,) = found.missing
    assert (missing.point.ranks, missing.state) == (1, "prepared")
    assert missing.why == "not submitted yet"


def test_cores_of_a_machine_that_nodes_share_count_once(study):
    """SC-019"""
    written, index = study()
    for ranks, machines in ((1, ["m1"]), (2, ["m1", "m1"])):
        written.job(index[ranks])
        written.attempt(index[ranks], began=T0, ended=T0 + 30)
        for rank, machine in enumerate(machines):
            written.times(index[ranks], 1, rank, [block(s) for s in range(6)], machine=machine,
                          node=f"n{rank}", cores=2, threads=2)  # fmt: skip
    by_ranks = {each.point.ranks: each for each in collect(written.array).measured}
    assert [by_ranks[n].cores for n in (1, 2)] == [2, 2]
    assert [by_ranks[n].oversubscribed for n in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("blocks", "ranks", "why"),
    [
        (range(2), 2, "attempt 1 has no step after the 2 of warm-up that all ranks wrote"),
        ((), 2, "attempt 1 has no step after the 2 of warm-up"),
        (range(6), 1, "attempt 1 has the step times of 1 of 2 ranks only"),
        (range(3), 2, "attempt 1 measured only 1 of 4 steps"),
    ],
)
def test_what_measured_too_little_is_missing(study, blocks, ranks, why):
    """SC-016"""
    written, index = study()
    written.job(index[2])
    written.attempt(index[2], began=T0, ended=T0 + 30)
    for rank in range(ranks):
        written.times(index[2], 1, rank, [block(step) for step in blocks])
    found = collect(written.array)
    assert not found.measured
    missing = next(each for each in found.missing if each.point.ranks == 2)
    assert missing.state == "finished"
    assert why in missing.why


def test_an_interrupted_point_counts_the_last_attempt(study):
    """SC-016, SC-017, SC-018"""
    written, index = study(steps=6)
    one = index[1]
    written.job(one)
    written.attempt(one, 1, began=T0 + 10, ended=T0 + 20, finished=False)
    written.times(one, 1, 0, [block(step, 2.0) for step in range(4)])
    written.attempt(one, 2, began=T0 + 25, ended=T0 + 40)
    written.times(one, 2, 0, [block(step, 1.0) for step in range(2, 8)], started_at=T0 + 26)
    (measured,) = collect(written.array).measured
    assert (measured.attempts, measured.attribution.steps) == (2, 4)
    assert measured.started_at == T0 + 25
    assert measured.start_up_s["queue"] == 5.0  # since its own attempt before
    assert measured.job_s == 30.0
    assert measured.goodput == pytest.approx((2 * 2.0 + 6 * 1.0) / (10 + 15))


@pytest.mark.parametrize("ledger", [True, False])
@pytest.mark.parametrize("first_end", [T0 + 20, None])
def test_a_study_and_the_report_of_a_run_tell_the_same(study, commands, ledger, first_end):
    """SC-018, SC-085: goodput, start-up and the parts of a step, with the same names."""
    commands()
    written, index = study(steps=6)
    one = index[1]
    run = written.runs[one]
    written.job(one)
    written.attempt(one, 1, began=T0 + 10, ended=first_end, finished=False)
    written.times(one, 1, 0, [block(step, 2.0, checkpoint=0.5) for step in range(4)])
    written.attempt(one, 2, began=T0 + 25, ended=T0 + 40)
    written.times(one, 2, 0, [block(step) for step in range(5, 12)], started_at=T0 + 26)
    written.result(one, {}, attempt=2, steps=12)
    if ledger:
        with LedgerWriter(run, 1, rank_writer(0)) as events:
            events.append("checkpoint_committed", step=5, epoch=0, sample=0)
        with LedgerWriter(run, 2, rank_writer(0)) as events:
            events.append("resumed_from", checkpoint="c", step=5, of_attempt=1)
            events.append("checkpoint_committed", step=12, epoch=0, sample=0)
            events.append("finished", step=12)
    (measured,) = collect(written.array).measured
    facts = read_run_facts(run)
    assert measured.goodput == pytest.approx(facts.goodput.of_attempts)
    # The ledger knows of step 4, whose time a kill has taken; step times alone do not.
    assert facts.goodput.useful_s == pytest.approx((5 if ledger else 4) * 1.5 + 7 * 1.0)
    assert facts.goodput.unwritten_steps == (1 if ledger else 0)
    own = {name: s for name, s in measured.start_up_s.items() if name != "queue"}
    assert own == facts.attempts[-1].start_up_s
    assert list(measured.attribution.parts_s) == list(facts.parts[2].parts_s) == list(STEP_PARTS)
    collected = Collected(read_study(written.array), (measured,), ())
    analysis = analyse(collected, resamples=20)
    origin = provenance_of(written.array.path, collected)
    for page in (page_of(facts), study_page(collected, analysis, origin, study_figures(analysis))):
        read = ReadPage(render_page(page))
        text = " ".join([read.text, *read.labels])
        spent = [part for part, seconds in measured.attribution.parts_s.items() if seconds > 0]
        for part in spent:
            assert STEP_PARTS[part].name in text
        for stage in own:
            assert STAGE_NAMES[stage] in text


def test_the_time_to_a_target_runs_from_the_first_start(study):
    """SC-019"""
    written, index = study(steps=None, target_loss=0.5)
    for ranks, result in ((1, {"reached": True, "reached_at": T0 + 27}),
                          (2, {"reached": False, "reached_at": None})):  # fmt: skip
        written.job(index[ranks])
        written.attempt(index[ranks], began=T0 + 10, ended=T0 + 30)
        written.result(index[ranks], result)
        for rank in range(ranks):
            written.times(index[ranks], 1, rank, [block(step) for step in range(6)])
    times = {each.point.ranks: each.time_to_solution_s for each in collect(written.array).measured}
    assert times == {1: 17.0, 2: None}


@pytest.mark.parametrize("text", ["", "[]", '{"measured": 3}', '{"measured": {"reached": true}}',
                                  '{"measured": {"reached": true, "reached_at": 1e400}}',
                                  '{"measured": {"reached": true, "reached_at": 5}}'])  # fmt: skip
def test_a_result_that_says_nothing_sound_is_no_time(study, text):
    """SC-016, SC-019"""
    written, index = study(steps=None, target_loss=0.5)
    written.job(index[1])
    written.attempt(index[1], began=T0 + 10, ended=T0 + 30)
    written.runs[index[1]].result_json.write_text(text)
    written.times(index[1], 1, 0, [block(step) for step in range(6)])
    (measured,) = collect(written.array).measured
    assert measured.time_to_solution_s is None


@pytest.mark.parametrize("damage", ["attempt", "submission", "times", "attempt_nan"])
def test_damage_makes_a_point_missing_and_no_error(study, damage):
    """SC-016"""
    written, index = study()
    for ranks in (1, 2):
        written.job(index[ranks])
        written.attempt(index[ranks], began=T0 + 10, ended=T0 + 30)
        for rank in range(ranks):
            written.times(index[ranks], 1, rank, [block(step) for step in range(6)])
    run = written.runs[index[1]]
    if damage == "attempt":
        (run.attempts / "001.json").write_text('{"job_id": "\x1b[2J"}')
    elif damage == "attempt_nan":
        text = (run.attempts / "001.json").read_text()
        (run.attempts / "001.json").write_text(text.replace(str(T0 + 10), "NaN"))
    elif damage == "submission":
        run.submission_json.write_text("[]")
    else:
        (run.metrics / "steps" / "001-rank-00000.jsonl").write_text('{"kind": "block"}\n[1\n')
    found = collect(written.array)
    assert [each.point.ranks for each in found.measured] == [2]
    (missing,) = found.missing
    assert missing.why
    assert missing.why.isprintable()
    assert missing.state == ("finished" if damage == "times" else "damaged")


def test_a_study_whose_members_are_others_is_refused(study):
    """SC-015"""
    written, _ = study()
    record = json.loads(written.array.study_json.read_text())
    record["points"] = record["points"][:1]
    written.array.study_json.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"1 points, but array\.json has 2 members"):
        collect(written.array)


def test_the_queue_begins_when_the_point_could_have_begun():
    """SC-017"""
    others = [Occupied(0, 0.0, 50.0), Occupied(1, 51.0, 90.0), Occupied(3, 200.0, 300.0)]
    assert queue_s(100.0, 2, [0.0], others, lanes=1) == 10.0  # since the one before it in the chain
    assert queue_s(100.0, 2, [95.0], others, lanes=1) == 5.0  # since its submission
    assert queue_s(100.0, 2, [0.0, 150.0], others, lanes=1) == 10.0  # resumed later
    assert queue_s(100.0, 1, [0.0], others, lanes=1) == 10.0  # since its own attempt before
    assert queue_s(100.0, 2, [20.0], [], lanes=1) == 80.0
    assert queue_s(100.0, 2, [], [], lanes=1) == 0.0
    two = [Occupied(0, 0.0, 60.0), Occupied(1, 0.0, 90.0)]
    assert queue_s(100.0, 2, [5.0], two, lanes=2) == 40.0  # a lane came free at 60
    assert queue_s(100.0, 2, [5.0], two, lanes=3) == 95.0  # it never waited for another


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), max_size=6), st.floats(0, 1e6),
       st.lists(st.floats(0, 2e6), max_size=3), st.integers(1, 3))  # fmt: skip
def test_a_queue_is_never_negative(spans, start, submitted, lanes):
    occupied = [Occupied(i, a, a + b) for i, (a, b) in enumerate(spans)]
    assert queue_s(start, 0, submitted, occupied, lanes) >= 0
