"""Training on real local ranks: each sample once, one loss at every world size, exact resume."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import fork_client
import numpy as np
import pytest
import torch
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from ptycho_dist.attempts.processes import start_time
from ptycho_dist.checkpoint.catalog import committed, newest_whole
from ptycho_dist.rundir.consumed import expand
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.runtime.versions import package_versions, torch_libraries

TEXT = """
model: {{n_filters_scale: 0.125}}
training: {{nepochs: {epochs}, batch_size: {batch}}}
execution: {{learning_rate: 1e-3, accum_steps: {accum}}}
resources: {{tasks_per_node: {ranks}}}
requeue: {{on: []}}
"""


@pytest.fixture
def train(make_config, launch, tmp_path):
    """Train locally to the end; returns the run directory."""

    def run(*, ranks, batch, epochs=1, accum=1, extra=()):
        root = tmp_path / f"runs-{ranks}-{batch}-{accum}"
        config = make_config(TEXT.format(ranks=ranks, batch=batch, epochs=epochs, accum=accum))
        done = launch("submit", config, "--cluster", "local", "--wait", "--runs-dir", root, *extra)
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = root.iterdir()
        return RunDirectory(path)

    return run


def metrics(run):
    with (run.metrics / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def losses(run):
    return [float(row["train_loss"]) for row in metrics(run)]


def weights(run):
    checkpoint, _ = newest_whole(run)
    state = torch.load(checkpoint.state, weights_only=True)["state_dict"]
    return {name: tensor.numpy() for name, tensor in state.items()}


def consumed(run, epoch):
    """Positions in the epoch order that the ranks recorded, in all attempts."""
    positions = []
    for event in read_ledger(run):
        if event["event"] == "consumed" and event["epoch"] == epoch:
            positions += [p for start, stop in expand(event["ranges"]) for p in range(start, stop)]
    return sorted(positions)


def test_37_samples_on_3_ranks_are_each_used_once_with_the_loss_of_one_rank(train):
    """RD-050 to RD-052, RD-054: a ragged last batch of one sample leaves two ranks without any."""
    three = train(ranks=3, batch=4, epochs=2)
    one = train(ranks=1, batch=4, accum=3, epochs=2)  # the same 12 samples a step
    for run in (three, one):
        assert [consumed(run, epoch) for epoch in (0, 1)] == [list(range(37))] * 2
        assert [int(row["samples"]) for row in metrics(run)] == [37, 37]
    np.testing.assert_allclose(losses(three), losses(one), rtol=1e-5)
    ours, theirs = weights(three), weights(one)
    for name in ours:  # two epochs of Adam: the gradient of each step was the same mean
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=2e-5, err_msg=name)


def test_accumulated_batches_give_the_step_of_one_large_batch(train):
    """RD-053: 37 samples, windows of 4 × 2 × 2 = 16; the last window holds two short ones."""
    accumulated = train(ranks=2, batch=2, accum=4, epochs=2)
    whole = train(ranks=2, batch=8, accum=1, epochs=2)
    assert metrics(accumulated)[-1]["step"] == metrics(whole)[-1]["step"] == "6"
    np.testing.assert_allclose(losses(accumulated), losses(whole), rtol=1e-5)
    assert consumed(accumulated, 1) == list(range(37))


def test_a_finished_run_says_so_everywhere(train, launch):
    """SC-070, among others"""
    run = train(ranks=2, batch=8, epochs=2)
    events = read_ledger(run)
    joined = [e for e in events if e["event"] == "joined"]
    assert {e["rank"] for e in joined} == {0, 1}
    assert all(e["versions"] == package_versions() | torch_libraries() for e in joined)
    assert [e["event"] for e in events].count("finished") == 2
    (attempt,) = attempt_files(run)
    assert (attempt["outcome"], attempt["exit_code"]) == ("finished", 0)
    assert json.loads(run.result_json.read_text())["last_epoch"]["epoch"] == 1
    assert all(h.state == "finished" for h in read_heartbeats(run).values())
    for pid in (h.pid for h in read_heartbeats(run).values()):
        assert start_time(pid) is None
    assert len(committed(run)) == 2
    assert not list(run.path.rglob("*.pkl"))
    root = run.path.parent
    status = json.loads(launch("status", run.run_id, "--runs-dir", root, "--json").stdout)
    assert (status["state"], status["said_by"]) == ("finished", "run directory")
    (listed,) = json.loads(launch("list", "--runs-dir", root, "--json").stdout)
    assert listed["run_id"] == run.run_id
    log = launch("logs", run.run_id, "--runs-dir", root).stdout
    assert "[rank 1] " in log
    assert "Traceback" not in log
    for command in ("resume", "cancel"):
        done = launch(command, run.run_id, "--runs-dir", root)
        assert (done.returncode, done.stdout) == (2, "")
        assert "finished" in done.stderr


def steps_done(run, at_least):
    heartbeat = read_heartbeats(run).get(0)
    return heartbeat is not None and heartbeat.progress.get("step", -1) >= at_least


def submit_detached(launch, config, root):
    done = launch("submit", config, "--cluster", "local", "--runs-dir", root, "--json")
    assert done.returncode == 0, done.stderr
    return RunDirectory(root / json.loads(done.stdout)["run_id"])


def test_ctrl_c_during_wait_leaves_the_run_going_and_cancel_ends_it(make_config, launch, tmp_path):
    root = tmp_path / "runs"
    config = make_config(TEXT.format(ranks=2, batch=4, epochs=5000, accum=1))
    command = [sys.executable, "-m", "launcher", "submit", str(config), "--cluster", "local"]
    watcher = fork_client.Popen(
        [*command, "--wait", "--runs-dir", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        run = RunDirectory(wait_for(lambda: [*root.glob("tiny-*")])[0])
        wait_for(lambda: steps_done(run, 2))
        os.killpg(watcher.pid, signal.SIGINT)  # as a terminal does: the whole foreground group
        out, _ = watcher.communicate(timeout=HANG_S)
    finally:
        watcher.kill()
    assert watcher.returncode == 130
    assert "the run continues" in out
    assert f"ptycho-launch cancel {run.path}" in out
    step = read_heartbeats(run)[0].progress["step"]
    wait_for(lambda: steps_done(run, step + 3))
    pids = [heartbeat.pid for heartbeat in read_heartbeats(run).values()]
    began = time.monotonic()
    done = launch("cancel", run.run_id, "--runs-dir", root)
    assert time.monotonic() - began < 30  # the bound that cancel promises
    assert done.returncode == 0, done.stderr
    assert "cancelled" in done.stdout
    assert all(start_time(pid) is None for pid in pids)
    events = [event["event"] for event in read_ledger(run)]
    assert {"cancel_requested", "cancelled", "stopped"} <= set(events)
    status = json.loads(launch("status", run.run_id, "--runs-dir", root, "--json").stdout)
    assert status["state"] == "cancelled"


def test_a_killed_rank_ends_the_run_and_is_not_a_success(make_config, launch, tmp_path):
    root = tmp_path / "runs"
    config = make_config(TEXT.format(ranks=2, batch=4, epochs=5000, accum=1))
    run = submit_detached(launch, config, root)
    wait_for(lambda: steps_done(run, 2))
    os.kill(read_heartbeats(run)[1].pid, signal.SIGKILL)
    wait_for(lambda: attempt_files(run)[0]["ended_at"])
    (attempt,) = attempt_files(run)
    assert (attempt["outcome"], attempt["exit_code"]) == ("failed", 137)
    assert "rank 1 was killed by SIGKILL" in launch("logs", run.run_id, "--runs-dir", root).stdout
    status = json.loads(launch("status", run.run_id, "--runs-dir", root, "--json").stdout)
    assert status["state"] == "failed"
    assert all(start_time(h.pid) is None for h in read_heartbeats(run).values())


def test_the_walltime_of_the_local_cluster_stops_the_ranks_with_a_checkpoint(
    make_config, launch, tmp_path
):
    """The lead is nearly the whole walltime: slow ranks are asked too early, but not killed."""
    root = tmp_path / "runs"
    text = TEXT.format(ranks=2, batch=4, epochs=5000, accum=1)
    text = text.replace("{tasks_per_node", '{time: "1:00:00", tasks_per_node')
    config = make_config(text.replace("on: []", "on: [], signal_lead_s: 3590"))
    done = launch("submit", config, "--cluster", "local", "--runs-dir", root, "--wait")
    assert done.returncode == 1
    assert "stopped: all ranks stopped on request with a checkpoint" in done.stdout
    (path,) = root.iterdir()
    assert attempt_files(RunDirectory(path))[0]["outcome"] == "stopped"


def test_all_checkpoints_damaged_stops_and_one_damaged_uses_the_older(train, launch):
    """RD-043, RD-044, guarantee G5."""
    run = train(ranks=1, batch=16, epochs=3)
    run.result_json.unlink()  # as if the end had not been reached
    older, newest = committed(run)
    flipped = bytearray(newest.state.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    newest.state.write_bytes(flipped)
    found, reasons = newest_whole(run)
    assert found == older
    assert reasons == [f"{newest.path.name}: state.ckpt: checksum differs"]
    root = run.path.parent
    done = launch("resume", run.run_id, "--runs-dir", root, "--wait")
    assert done.returncode == 0, done.stdout
    resumed = [e for e in read_ledger(run) if e["event"] == "resumed_from"]
    assert [event["checkpoint"] for event in resumed] == [older.path.name]
    run.result_json.unlink()
    assert newest_whole(run) == (committed(run)[-1], [])  # the damaged one was made anew
    for checkpoint in committed(run):
        (checkpoint.path / "manifest.json").write_text("{")
    done = launch("resume", run.run_id, "--runs-dir", root, "--wait")
    assert (done.returncode, done.stdout) == (2, "")
    assert "every checkpoint is damaged" in done.stderr
