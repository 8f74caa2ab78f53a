"""Going on with another number of ranks, where that is asked for (RS-009)."""

import csv
import json
import os
import signal

from waiting import wait_for

from launcher.status.run_status import status_of
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 30, batch_size: 4}
execution: {scheduler: WarmupCosine}
requeue: {on: []}
resources: {tasks_per_node: 2}
"""


def test_each_sample_once_on_two_ranks_then_on_three(make_config, launch, tmp_path):
    root = tmp_path / "runs"
    done = launch("submit", make_config(TEXT), "--cluster", "local", "--runs-dir", root, "--json")
    run = RunDirectory(root / json.loads(done.stdout)["run_id"])
    wait_for(
        lambda: (beat := read_heartbeats(run).get(0)) and beat.progress.get("step", 0) >= 7, "step"
    )
    os.kill(read_heartbeats(run)[1].pid, signal.SIGUSR2)
    wait_for(lambda: status_of(run).over, "end")
    assert status_of(run).state == "stopped"
    three = ("--set", "resources.tasks_per_node=3", "--wait")
    refused = launch("resume", run.path, *three)
    assert refused.returncode == 2
    assert "allow it with --allow-resize" in refused.stderr
    done = launch("resume", run.path, "--allow-resize", *three)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = verify(run)
    assert proof.proven, proof.faults
    assert proof.whole_epochs == 30
    started = [e for e in read_ledger(run) if e["event"] == "training_started"]
    assert {(e["attempt"], e["ranks"]) for e in started} == {(1, 2), (2, 3)}
    assert json.loads(run.plan_json.read_text())["resized"] is True
    with (run.metrics / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(30))
    assert {row["samples"] for row in rows} == {"37"}
    rates = [float(row["learning_rate"]) for row in rows]
    peak = rates.index(max(rates))
    assert peak < 3  # the cosine goes on where it was
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-5
