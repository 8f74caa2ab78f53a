"""The source of the state of a run: squeue, sacct, or the run directory alone."""

import time

import pytest
from waiting import wait_for

from launcher.slurm import squeue as squeue_room
from launcher.slurm.jobs import Scheduler
from launcher.status.overview import overview
from launcher.status.run_status import status_of
from ptycho_dist.attempts.processes import start_time
from ptycho_dist.rundir.listing import list_runs

GONE = 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1'
NO_ACCOUNTING = 'echo "Slurm accounting storage is disabled" >&2; exit 1'


@pytest.fixture
def submitted(pretend):
    run = pretend()
    run.submitted()
    return run


@pytest.mark.parametrize(
    ("squeue", "sacct", "state", "said_by"),
    [
        ('echo "7|RUNNING|2026-01-01T00:00:00|None"', NO_ACCOUNTING, "running", "squeue"),
        (None, 'echo "7|RUNNING|0:0|n1|2026-01-01T00:00:00|"', "running", "sacct"),
        (GONE, 'echo "7|CANCELLED by 1000|0:0|n1|2026-01-01T00:00:00|"', "cancelled", "sacct"),
        (GONE, 'echo "7|PENDING|0:0|None assigned|Unknown|"', "pending", "sacct"),
        (GONE, NO_ACCOUNTING, "lost", "squeue"),
        ("true", "true", "lost", "squeue"),  # neither has such a job
        (None, "true", "unknown", "run directory"),  # accounting may lag behind
        (None, None, "unknown", "run directory"),
        (NO_ACCOUNTING, NO_ACCOUNTING, "unknown", "run directory"),
        ('printf "\\377|\\033[31m|\\n\\n|||||\\n"', None, "lost", "squeue"),
        ('echo "7|REQUEUE_HOLD|N/A|JobHoldMaxRequeue"', None, "pending", "squeue"),
    ],
)
def test_the_first_source_that_knows_is_believed(
    submitted, commands, squeue, sacct, state, said_by
):
    """RD-200, RD-202"""
    commands(**{k: v for k, v in (("squeue", squeue), ("sacct", sacct)) if v is not None})
    status = status_of(submitted.run)
    assert (status.state, status.said_by) == (state, said_by)


def test_a_run_that_recorded_its_end_asks_nobody(submitted, commands):
    """RD-200: neither squeue nor sacct is called."""
    calls = commands(squeue="exit 1", sacct="exit 1")
    submitted.attempt(ended=("failed", "crash", "rank 1 died"))
    status = status_of(submitted.run)
    assert (status.state, status.said_by, status.cause) == (
        "failed",
        "run directory",
        "rank 1 died",
    )
    assert calls.read_text() == ""


def test_without_slurm_heartbeats_tell_the_state(submitted, commands):
    """RD-202"""
    submitted.attempt()
    submitted.beat()
    status = status_of(submitted.run)
    assert (status.state, status.said_by) == ("running", "run directory")
    assert "squeue is not on PATH; sacct is not on PATH" in status.cause
    submitted.beat(updated_at=time.time() - 300)
    status = status_of(submitted.run)
    assert (status.state, status.over) == ("unknown", False)
    assert "no rank has reported lately" in status.cause
    submitted.attempt(ends_at=time.time() - 200)
    assert "its walltime is over" in status_of(submitted.run).cause


def test_a_slurm_that_hangs_is_ended_with_what_it_started(
    submitted, commands, monkeypatch, tmp_path
):
    """RD-201: the site's command is a wrapper whose child hangs."""
    monkeypatch.setattr(squeue_room, "TIMEOUT_S", 5)
    hang = f"bash -c 'echo $$ >> {tmp_path}/pids; exec sleep 600' & wait"
    commands(squeue=hang)
    submitted.attempt()
    submitted.beat()
    status = status_of(submitted.run)
    assert (status.state, status.said_by) == ("running", "run directory")
    assert "squeue did not answer within 5 s; sacct is not on PATH" in status.cause
    (pid,) = (int(line) for line in (tmp_path / "pids").read_text().split())
    wait_for(lambda: start_time(pid) is None, "end of what it has started")


def test_a_silent_slurm_is_not_asked_again_at_once(submitted, commands):
    """RD-072, RD-201"""
    calls = commands(squeue="exit 1", sacct="exit 1")
    scheduler = Scheduler(every_s=0.001)
    for _ in range(5):
        assert status_of(submitted.run, scheduler).state == "unknown"
    assert len(calls.read_text().splitlines()) == 2


def test_many_runs_ask_once(pretend, commands, tmp_path):
    """RD-201, RD-209: a run that has recorded its end asks nothing."""
    calls = commands(
        squeue='echo "1|RUNNING|N/A|None"; echo "3|PENDING|N/A|Priority"',
        sacct='echo "2|COMPLETED|0:0|n1|2026-01-01T00:00:00|"',
    )
    for number in range(1, 6):
        run = pretend(f"tiny-20260101-00000{9 - number}-000{number}")
        run.submitted(str(number))
    run.attempt(job_id="5", ended=("failed", "crash", "it broke"))
    found = {status.job_id: status.state for status in overview(list_runs(tmp_path / "runs"))}
    assert list(found) == ["5", "4", "3", "2", "1"]  # by the time in their names
    assert found == {"1": "running", "2": "failed", "3": "pending", "4": "lost", "5": "failed"}
    asked = calls.read_text().splitlines()
    assert len(asked) == 2
    assert asked[0].endswith("--jobs=4,3,2,1")
    assert asked[1].endswith("--jobs=4,2")


def test_a_malformed_job_id_never_reaches_a_command(pretend, commands):
    """RD-210"""
    calls = commands(squeue="true", sacct="true")
    run = pretend()
    run.submitted("7 --me; touch x")
    assert status_of(run.run).state == "unknown"
    assert calls.read_text() == ""
