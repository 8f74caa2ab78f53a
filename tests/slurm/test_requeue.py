"""Runs on a real SLURM that put themselves back into the queue, whatever befell them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from launcher.status.history import history_of
from launcher.status.run_status import status_of
from ptycho_dist.attempts.processes import start_time
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

pytestmark = pytest.mark.slurm

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 60, batch_size: 4}
requeue: {on: [preempt, timeout, node_fail, crash], backoff_s: 0}
reconstruct: false
resources: {nodes: 3, tasks_per_node: 1}
"""
ALONE = TEXT.replace("nodes: 3, tasks_per_node: 1", "nodes: 1, tasks_per_node: 1")


@pytest.fixture
def submit(cluster, make_config, forked_ranks, launch, tmp_path, request):
    def start(name, *extra):
        root = tmp_path / f"runs-{name}"
        done = launch(
            "submit", make_config(TEXT + forked_ranks), "--cluster", "slurm", "--runs-dir", root,
            "--json", *extra, env=cluster.env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        submission = json.loads(done.stdout)
        run = RunDirectory(root / submission["run_id"])
        request.addfinalizer(lambda: cluster.run(["scancel", submission["job_id"]], check=False))
        return run, submission["job_id"]

    return start


@pytest.fixture(scope="module")
def walltime_run(cluster, scan_file, forked_ranks, tmp_path_factory):
    """A run of one rank that is asked to stop after 40 to 70 s, which pass while others run."""
    folder = tmp_path_factory.mktemp("walltime")
    config = folder / "run.yaml"
    text = ALONE.replace("nepochs: 60", "nepochs: 100000") + forked_ranks
    config.write_text(f"name: walltime\ndata: {{train_data_file: {scan_file}}}\n{text}")
    sets = ("resources.time=10:00", "requeue.signal_lead_s=530", "requeue.max_restarts=1")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "launcher", "submit", str(config), "--cluster", "slurm"),
            *("--runs-dir", str(folder / "runs"), "--json"),
            *(word for text in sets for word in ("--set", text)),
        ],
        capture_output=True, text=True, timeout=HANG_S, env={**os.environ, **cluster.env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    submission = json.loads(done.stdout)
    yield RunDirectory(folder / "runs" / submission["run_id"]), submission["job_id"]
    cluster.run(["scancel", submission["job_id"]], check=False)


@pytest.fixture(autouse=True)
def this_slurm(request, monkeypatch):
    """`status_of` in this process asks the cluster of the test."""
    own = "own_cluster" in request.fixturenames
    cluster = request.getfixturevalue("own_cluster" if own else "cluster")
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)


def training(run, attempt, ranks, step):
    """Process and node of each rank, once rank 0 is past that step."""
    beats = read_heartbeats(run)
    ready = len(beats) == ranks and all(beat.attempt == attempt for beat in beats.values())
    if not ready or beats[0].progress.get("step", -1) < step:
        return None
    return {rank: (beat.pid, beat.node) for rank, beat in beats.items()}


def over(run):
    status = status_of(run)
    return status if status.over else None


def resumed_step(run):
    return max((e["step"] for e in read_ledger(run) if e["event"] == "resumed_from"), default=0)


def slurmd_of(cluster, node):
    """The process number of a node's daemon."""
    state = json.loads((cluster.dir / "state.json").read_text())
    return state["daemons"][f"slurmd-{node}"][0]


def release(cluster, job):
    """SLURM holds a job for two minutes when the requeue was not ours."""

    def released():
        done = cluster.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
        return done.returncode == 0

    wait_for(released, "job in the queue")


def test_three_blows_and_the_weights_of_the_uninterrupted_run(
    cluster, submit, walltime_run, weights_of, capsys
):
    """RS-010, RS-030 to RS-036, guarantees G2, G4 and G10."""
    quiet, _ = submit("quiet")
    assert wait_for(lambda: over(quiet), "end").state == "finished"
    run, job = submit("struck")

    def scancel_usr2(ranks):
        cluster.run(["scancel", "--signal=USR2", job])

    def scontrol_requeue(ranks):
        cluster.run(["scontrol", "requeue", job])
        release(cluster, job)

    def kill_a_rank(ranks):
        os.kill(ranks[2][0], signal.SIGKILL)

    for attempt, strike in enumerate((scancel_usr2, scontrol_requeue, kill_a_rank), start=1):
        ranks = wait_for(
            lambda n=attempt: training(run, n, 3, resumed_step(run) + 3), f"steps of {attempt}"
        )
        struck = time.monotonic()
        strike(ranks)
        wait_for(lambda n=attempt: len(attempt_files(run)) > n, f"attempt {attempt + 1}")
        seconds = time.monotonic() - struck
        with capsys.disabled():
            print(f"\n{strike.__name__}: the next attempt after {seconds:.1f} s", end="")
    assert wait_for(lambda: over(run), "end").state == "finished"
    endings = [record["ending"]["cause"] for record in attempt_files(run)]
    assert endings == ["preempt", "preempt", "crash", "finished"]
    history = history_of(run)  # RD-204
    assert [past.cause for past in history] == endings
    assert [past.resumed_from_attempt for past in history] == [None, 1, 2, 3]
    assert 0 == history[0].resumed_from_step < (history[1].resumed_from_step or 0)
    assert {record["job_id"] for record in attempt_files(run)} == {job}
    assert weights_of(run) == weights_of(quiet)
    proof = verify(run)
    assert proof.proven, proof.faults
    assert proof.whole_epochs == 60


def test_the_walltime_is_reached(cluster, walltime_run):
    """RS-020, RS-030, RS-032: SLURM's signal, or the rank's own clock, whichever comes first."""
    run, job = walltime_run
    wait_for(lambda: len(attempt_files(run)) == 2, "second attempt")
    first, second = attempt_files(run)
    assert (first["outcome"], first["ending"]["cause"]) == ("stopped", "timeout")
    assert first["ending"]["committed_step"] > 0
    assert second["cause"] == "requeue"
    cluster.run(["scancel", job])
    status = wait_for(lambda: over(run), "end")
    assert status.state in {"cancelled", "stopped"}
    assert len(attempt_files(run)) == 2  # scancel is no preemption: nothing starts again


def test_a_node_is_lost_and_its_rank_lives_on(
    own_cluster, make_config, launch, weights_of, tmp_path
):
    """RD-041, RS-036: the survivor is fenced off, its node excluded, the weights the same."""
    text = ALONE.replace("nepochs: 60", "nepochs: 90")
    submit = ("submit", make_config(text), "--json", "--runs-dir")
    done = launch(*submit, tmp_path / "struck", "--cluster", "slurm", env=own_cluster.env)
    assert done.returncode == 0, done.stderr
    submission = json.loads(done.stdout)
    run, job = RunDirectory(tmp_path / "struck" / submission["run_id"]), submission["job_id"]
    survivor, node = wait_for(lambda: training(run, 1, 1, 20), "steps")[0]
    os.kill(slurmd_of(own_cluster, node), signal.SIGKILL)
    down = ["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=its slurmd is dead"]
    own_cluster.run(down)
    release(own_cluster, job)
    wait_for(lambda: len(attempt_files(run)) == 2, "second attempt")
    first, second = attempt_files(run)
    assert first["ending"]["cause"] == "node_fail"
    assert first["ending"]["reason"] == f"node lost: {node}"
    assert first["next"]["exclude"] == [node]
    assert second["nodes"] != [node]
    wait_for(lambda: start_time(survivor) is None, "end of the survivor")
    log = run.rank_log(1, 0).read_text()
    assert "a later attempt has begun" in log
    assert wait_for(lambda: over(run), "end").state == "finished"
    done = launch(*submit, tmp_path / "quiet", "--cluster", "local", "--wait")
    assert done.returncode == 0, done.stderr
    quiet = RunDirectory(tmp_path / "quiet" / json.loads(done.stdout)["run_id"])
    assert weights_of(run) == weights_of(quiet)
    assert verify(run).proven
