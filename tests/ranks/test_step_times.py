"""A run that measures, on two real ranks with delays in known places: where each one is found."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import fork_client
import pytest

from launcher.timing.attribution import attribute
from ptycho_dist.attempts.ending import ending_of
from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.rundir.step_times import START_UP, read_step_times

PROGRAM = Path(__file__).with_name("delays_program.py")
TEXT = """
training: {nepochs: 9, batch_size: 1}
resources: {tasks_per_node: 2}
requeue: {on: []}
reconstruct: true
"""
STEPS_PER_EPOCH = 19
STEPS = 106  # epochs 1 and 3 are slow; it ends within the sixth
TOLERANCE = 0.05


@pytest.fixture
def slow_run(make_run, start_ranks, simulate, tmp_path, monkeypatch):
    """The run, and what each of its ranks has slept: (place, step) → seconds."""
    run = make_run(TEXT)
    record = json.loads(run.run_json.read_text())
    test = simulate(tmp_path / "test.npz", n_patterns=2, seed=1)
    from ptycho_dist.config.plain_data import config_digest, decode_run_config

    record["config"]["data"]["test_data_file"] = str(test)
    record["config"]["execution"]["checkpoint_every_n_steps"] = 12
    record["config_sha256"] = config_digest(decode_run_config(record["config"], "test"))
    run.run_json.write_text(json.dumps(record))
    plan = read_json(run.plan_json)
    plan["measurement"] = {"until": "steps", "value": STEPS - 2, "warm_up_steps": 2}
    run.plan_json.write_text(json.dumps(plan))
    ranks = start_ranks(run)
    popen = fork_client.Popen
    monkeypatch.setattr(
        fork_client, "Popen",
        lambda command, **rest: popen([sys.executable, str(PROGRAM), command[-1]], **rest),
    )  # fmt: skip
    for rank in (0, 1):
        ranks.start(rank, DELAYS_FILE=str(tmp_path / "delays"))
    for code, errors in ranks.finish():
        assert code == 0, errors
    slept = []
    for rank in (0, 1):
        lines = (tmp_path / f"delays.{rank}").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        slept.append({(each["place"], each["step"]): each["seconds"] for each in told})
    return run, slept


def test_each_delay_is_found_where_it_was_and_the_run_ends_when_it_has_measured(slow_run):
    """SC-020 to SC-024, SC-027, SC-029, SC-030, SC-033 and SC-034"""
    run, slept = slow_run
    times = read_step_times(run, 1)
    seconds_of = {**slept[0], **slept[1]}
    step_of = dict(sorted(seconds_of, reverse=True))  # of several the first, in epoch 1

    def rest(part, rank, place, by):
        """What a part of the steps with this delay has beyond it, less what it has without: least
        of the slow epochs, and of the others, as other work on the machine only adds to it."""
        least = {True: math.inf, False: math.inf}
        first = step_of[place]
        for step in range(first, 95, STEPS_PER_EPOCH):
            only = {n: replace(each, blocks=(each.blocks[step],)) for n, each in times.items()}
            seconds = attribute(only, skip_steps=0, ranks=2).by_rank_s[rank][part]
            delay = slept[by].get((place, step)) if by is not None else 0
            slow = step // STEPS_PER_EPOCH % 2 == 1
            least[slow] = min(least[slow], seconds - (delay if slow else 0))
        return abs(least[True] - least[False]) / seconds_of[place, first]

    for place in ("data", "optimizer", "checkpoint", "validation"):
        for rank in (0, 1):  # rank 0 writes a checkpoint, the other waits for it there
            by = 0 if place == "checkpoint" else rank
            assert rest(place, rank, place, by) < TOLERANCE, place
    late = "forward_backward"
    assert rest("forward_backward", 1, late, 1) < TOLERANCE
    assert rest("straggler", 0, late, 1) < TOLERANCE
    for part, rank in (("straggler", 1), ("forward_backward", 0), ("communication", 0)):
        assert rest(part, rank, late, None) < TOLERANCE, part

    # The parts are the wall time; and the blocks follow each other, by another clock.
    whole = attribute(times, skip_steps=2, ranks=2)
    assert (whole.steps, whole.ranks, whole.samples) == (STEPS - 2, 2, 5 * 37 + 11 * 2 - 2 * 2)
    assert sum(whole.parts_s.values()) == pytest.approx(whole.wall_s, rel=TOLERANCE)
    for rank, each in times.items():
        first, last = each.blocks[0], each.blocks[-1]
        assert [(block.first_step, block.steps) for block in each.blocks] == [
            *((step, 1) for step in range(100)),
            (100, STEPS - 100),  # cut short by the end
        ]
        for block in each.blocks:
            assert sum(block.parts_s.values()) == pytest.approx(block.wall_s, rel=TOLERANCE)
        elapsed = last.ended_at - (first.ended_at - first.wall_s)
        assert sum(b.wall_s for b in each.blocks) == pytest.approx(elapsed, rel=TOLERANCE)
        # From the start of the process to the first batch.
        assert tuple(each.start_up_s) == START_UP
        before = first.ended_at - first.wall_s - each.started_at
        assert sum(each.start_up_s.values()) == pytest.approx(before, rel=TOLERANCE)
        assert each.start_up_s["opening"] > slept[rank]["opening", 0]
        assert (each.device, each.threads, each.machine) == ("cpu", 1, times[0].machine)
        assert each.host_peak_bytes > 10**8

    # It has ended within an epoch, as a run that has finished.
    result = read_json(run.result_json)
    assert result["steps"] == STEPS
    measured = result["measured"]
    assert (measured["until"], measured["reached"], measured["steps"]) == ("steps", True, STEPS - 2)
    assert measured["seconds"] == pytest.approx(whole.wall_s, rel=TOLERANCE)
    assert newest_whole(run)[0].step == STEPS
    assert list(run.reconstruction.iterdir()) == []
    assert {beat.state for beat in read_heartbeats(run).values()} == {"finished"}
    assert [event["event"] for event in read_ledger(run)].count("finished") == 2
    (attempt,) = read_attempts(run)
    ending = ending_of(run, attempt, 0, now=times[0].blocks[-1].ended_at)
    assert (ending.outcome, ending.reason) == ("finished", "what was to be measured is measured")
    proof = verify(run)
    assert (proof.proven, proof.whole_epochs, proof.cursor) == (True, 5, 22), proof.faults

    # An ordinary run could not end there.
    plan = read_json(run.plan_json)
    del plan["measurement"]
    run.plan_json.write_text(json.dumps(plan))
    assert "in the middle of the epoch" in verify(run).faults[0]
