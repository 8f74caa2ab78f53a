"""Signals at random moments: no hang, all ranks stop at one step, resume goes on from there.

`--signal-trials N` sets the trials per signal; CI runs few, a campaign runs 20.
"""

import json
import os
import random
import signal
import time
from functools import partial

import pytest
from attempt_files import attempt_files
from waiting import wait_for

from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

pytestmark = pytest.mark.slurm

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 100000, batch_size: 4}
resources: {nodes: 2, tasks_per_node: 2}
requeue: {on: []}
"""


def one_rank(run, cluster, job_id, generator):
    """USR2 to the step's direct child alone: proctrack/cgroup would deliver it nowhere else."""
    os.kill(read_heartbeats(run)[generator.randrange(4)].pid, signal.SIGUSR2)


def whole_job(run, cluster, job_id, generator):
    cluster.run(["scancel", "--signal=TERM", job_id])


def interrupt(run, trial, delay, send, name, last_stop):
    """Signal one attempt; returns the step at which all ranks stopped, and the seconds it took."""
    wait_for(lambda: len(attempt_files(run)) == trial, "attempt")
    wait_for(
        lambda: sum(h.attempt == trial for h in read_heartbeats(run).values()) == 4, "heartbeats"
    )
    if trial % 2 == 0:  # every other signal comes while the steps go by
        wait_for(lambda: steps_done(run, trial) > last_stop, "step")
    time.sleep(delay)  # the random moment
    send()
    signalled = time.monotonic()
    attempt = wait_for(lambda: ended(run, trial), "end of the attempt")
    seconds = time.monotonic() - signalled
    events = read_ledger(run, trial)
    stops = [event["step"] for event in events if event["event"] == "stopped"]
    assert attempt["outcome"] == "stopped", events[-8:]
    assert len(stops) == 4
    assert len(set(stops)) == 1
    assert {e["signal"] for e in events if e["event"] == "stop_requested"} == {name}
    starts = {event["step"] for event in events if event["event"] == "training_started"}
    assert starts <= {last_stop}  # none, where the signal came before the first step
    assert stops[0] >= last_stop
    return stops[0], seconds


@pytest.mark.parametrize(
    ("send", "name"), [(one_rank, "SIGUSR2"), (whole_job, "SIGTERM")], ids=["USR2", "TERM"]
)
def test_a_signal_at_a_random_moment(
    cluster, make_config, forked_ranks, launch, tmp_path, pytestconfig, capsys, send, name
):
    """RD-060 to RD-063, guarantee G6."""
    root = tmp_path / "runs"
    generator = random.Random(name)
    done = launch(
        "submit", make_config(TEXT + forked_ranks), "--cluster", "slurm", "--runs-dir", root,
        "--json", env=cluster.env,
    )  # fmt: skip
    submission = json.loads(done.stdout)
    job_id = submission["job_id"]
    run = RunDirectory(root / submission["run_id"])
    last_stop = 0
    for trial in range(1, pytestconfig.getoption("--signal-trials") + 1):
        # An odd trial is signalled some time after its processes show up (imports, rendezvous,
        # first steps), an even one some time after its first step.
        moment, longest = ("sign of life", 12) if trial % 2 else ("step", 4)
        delay = generator.uniform(0, longest)
        last_stop, seconds = interrupt(
            run, trial, delay, partial(send, run, cluster, job_id, generator), name, last_stop
        )
        with capsys.disabled():
            print(
                f"\n{name} {trial}: {delay:.1f} s after the first {moment}, "
                f"all at step {last_stop}, "
                f"gone after {seconds:.1f} s",
                end="",
            )
        done = launch("resume", run.run_id, "--runs-dir", root, "--json", env=cluster.env)
        assert done.returncode == 0, done.stderr
        job_id = json.loads(done.stdout)["job_id"]
    cancelled = launch("cancel", run.run_id, "--runs-dir", root, env=cluster.env)
    assert cancelled.returncode == 0, cancelled.stderr


def steps_done(run, attempt):
    heartbeat = read_heartbeats(run).get(0)
    if heartbeat is None or heartbeat.attempt != attempt:
        return -1
    return heartbeat.progress.get("step", -1)


def ended(run, number):
    attempt = attempt_files(run)[number - 1]
    return attempt if attempt["ended_at"] is not None else None
