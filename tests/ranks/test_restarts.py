"""A local run that is interrupted goes on by itself, and ends as if nothing had happened."""

import json
import os
import signal
from pathlib import Path

import pytest
from attempt_files import attempt_files
from waiting import wait_for

from launcher.explain.explain import explain
from launcher.status.run_status import status_of
from ptycho_dist.attempts.processes import start_time
from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 40, batch_size: 4}
requeue: {on: [preempt, timeout, node_fail, crash], backoff_s: 0, signal_lead_s: 10}
reconstruct: false
resources: {tasks_per_node: 2}
"""


@pytest.fixture
def submit(make_config, launch, tmp_path, request):
    def start(text=TEXT, *extra):
        root = tmp_path / f"runs-{len(list(tmp_path.iterdir()))}"
        done = launch(
            "submit", make_config(text), "--cluster", "local", "--runs-dir", root, "--json", *extra
        )
        assert done.returncode == 0, done.stderr
        run = RunDirectory(root / json.loads(done.stdout)["run_id"])
        request.addfinalizer(lambda: launch("cancel", run.path))
        return run

    return start


def at_step(run, attempt, step):
    """Whether the attempt has come to the step, and which processes its ranks are."""
    beats = read_heartbeats(run)
    ready = len(beats) == 2 and all(beat.attempt == attempt for beat in beats.values())
    if not ready or beats[0].progress.get("step", -1) < step:
        return None
    return {rank: beat.pid for rank, beat in beats.items()}


def over(run):
    status = status_of(run)
    return status if status.over else None


def endings(run):
    return [record["ending"]["cause"] for record in attempt_files(run)]


@pytest.mark.effect("requeue.on", "requeue.backoff_s")
def test_a_signal_a_kill_and_a_rank_that_stands_still(submit, launch, weights_of):
    """RS-010, RS-012, RS-030, RS-040, SC-082, SC-085, G2, G4, G10: the uninterrupted weights."""
    quiet = submit()
    run = submit(TEXT, "--set", "execution.collective_timeout_s=15")  # one will stand still

    def signal_one(pids):
        os.kill(pids[1], signal.SIGUSR2)

    def kill_one(pids):
        os.kill(pids[1], signal.SIGKILL)

    def freeze_one(pids):
        os.kill(pids[1], signal.SIGSTOP)

    for attempt, strike in enumerate((signal_one, kill_one, freeze_one), start=1):
        before = max(
            (e["step"] for e in read_ledger(run) if e["event"] == "resumed_from"), default=0
        )
        strike(wait_for(lambda n=attempt, s=before: at_step(run, n, s + 8), f"step of {attempt}"))
        wait_for(
            lambda n=attempt: attempt_files(run)[n - 1]["ended_at"], f"end of attempt {attempt}"
        )
    for each in (quiet, run):
        assert wait_for(lambda r=each: over(r), "end").state == "finished"
    assert endings(run) == ["preempt", "crash", "node_fail", "finished"]
    first, second, third, _ = attempt_files(run)
    assert first["outcome"] == "stopped"
    assert "rank 1" in second["ending"]["reason"]
    assert "without a word" in second["ending"]["reason"]
    assert "rank 1" in third["ending"]["reason"]
    assert "no sign of life" in third["ending"]["reason"]
    assert weights_of(run) == weights_of(quiet)
    proof = verify(run)
    assert proof.proven, proof.faults
    assert proof.whole_epochs == 40
    done = launch("verify", run.path)
    assert done.returncode == 0
    assert "proven: 40 epochs of 37 samples, each used once" in done.stdout.splitlines()[-1]
    reported = launch("report", run.path, "--json")
    assert reported.returncode == 0, reported.stderr
    told = json.loads(reported.stdout)
    assert [attempt["cause"] for attempt in told["attempts"]] == endings(run)
    assert sum(attempt["kept_steps"] for attempt in told["attempts"]) == 200
    kept = [epoch for epoch in told["epochs"] if epoch["standing"] == "committed"]
    assert [epoch["epoch"] for epoch in kept] == list(range(40))
    assert 0 < told["goodput"]["useful_s"] < told["goodput"]["attempts_s"]
    assert told["left_out"] == []


@pytest.mark.effect("requeue.max_restarts")
def test_the_walltime_is_no_end_and_restarts_are_counted(by_waiting_clock):
    """RS-020, RS-030, RS-033: stopped before it, begun again by itself, as often as allowed."""
    text = TEXT.replace("nepochs: 40", "nepochs: 100000")
    run, code = by_waiting_clock(text.replace("signal_lead_s: 10", "max_restarts: 1"))
    assert code == 75
    status = over(run)
    assert status.state == "stopped"
    assert "requeue.max_restarts: 1 restarts are used up" in status.cause
    first, second = attempt_files(run)
    assert (first["cause"], second["cause"]) == ("submit", "requeue")
    for record in (first, second):
        assert (record["outcome"], record["ending"]["cause"]) == ("stopped", "timeout")
        assert record["ended_at"] < record["ends_at"]
    assert 0 < first["ending"]["committed_step"] < second["ending"]["committed_step"]


def test_a_crash_loop_ends(submit):
    """RS-034: the same error at the same step, twice in a row."""
    run = submit(TEXT, "--set", "execution.learning_rate=1e30")
    status = wait_for(lambda: over(run), "end")
    assert status.state == "failed"
    assert "no longer finite" in status.cause
    assert endings(run) == ["crash", "crash"]
    assert "a crash loop: twice in a row at step" in attempt_files(run)[-1]["next"]["why"]
    why = explain(run)  # RD-232: what is known goes before the loop that it makes
    assert (why.cause, why.confidence) == ("nan_loss", "recorded")
    assert "a crash loop" in why.what_followed
    assert explain(run, 1).cause == "nan_loss"


def test_a_wait_before_a_restart_can_be_cancelled(submit, launch):
    """RS-032, RS-036"""
    slow = ("execution.learning_rate=1e30", "requeue.backoff_s=600")
    run = submit(TEXT, *(word for each in slow for word in ("--set", each)))
    status = wait_for(
        lambda: (now := status_of(run)).state == "pending" and "after crash" in now.cause and now,
        "wait for the restart",
    )
    assert "no longer finite" in status.cause
    assert attempt_files(run)[0]["next"]["delay_s"] == 600
    refused = launch("resume", run.path)
    assert refused.returncode == 2
    assert "only a run that is over is resumed" in refused.stderr
    done = launch("cancel", run.path)
    assert done.returncode == 0, done.stderr
    assert over(run).state == "cancelled"
    assert len(attempt_files(run)) == 1


def test_a_second_signal_leaves_with_the_last_good_checkpoint(submit):
    """RS-013: also while the main thread waits in a collective for a rank that is gone."""
    run = submit(TEXT, "--set", "requeue.on=[]", "--set", "requeue.signal_lead_s=600")
    pids = wait_for(lambda: at_step(run, 1, 12), "step")
    os.kill(pids[1], signal.SIGSTOP)
    os.kill(pids[0], signal.SIGUSR2)

    def left_when_signalled_again():
        if start_time(pids[0]) is not None:
            os.kill(pids[0], signal.SIGUSR2)
        return [event for event in read_ledger(run) if event["event"] == "left"]

    wait_for(left_when_signalled_again, "leaving")
    # its exit code has been read when it is gone: a kill before that would be the first end seen
    wait_for(lambda: not Path(f"/proc/{pids[0]}").exists(), "end of rank 0")  # nor a zombie
    os.kill(pids[1], signal.SIGKILL)
    wait_for(lambda: attempt_files(run)[0]["ended_at"], "end")
    (record,) = attempt_files(run)
    assert record["outcome"] == "cut_short"
    assert record["exit_code"] == 75
    (left,) = (event for event in read_ledger(run) if event["event"] == "left")
    assert left["why"] == "second signal"
    checkpoint, reasons = newest_whole(run)
    assert checkpoint.step >= 5
    assert not reasons
    status = over(run)
    assert "had to leave before they could write a checkpoint" in status.cause
