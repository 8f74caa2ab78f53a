"""Other ways to start a rank, and starts that must fail with a reason."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import fork_client
import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from ptycho_dist.checkpoint.catalog import committed
from ptycho_dist.config.plain_data import config_digest, decode_run_config
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

TWO = "resources: {tasks_per_node: 2}\ntraining: {nepochs: 2, batch_size: 8}\n"


def status(launch, run):
    return json.loads(launch("status", run.path, "--json").stdout)


def test_torchrun_starts_the_ranks_of_a_run(make_run, launch):
    """RD-024: rank 0 begins the attempt and hands it over through torchrun's store."""
    run = make_run(TWO)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--master-port", "29431", "-m", "ptycho_dist.rank", str(run.path),
        ],
        capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    joined = [event for event in read_ledger(run) if event["event"] == "joined"]
    assert {event["rank"] for event in joined} == {0, 1}
    assert {event["source"] for event in joined} == {"torchrun"}
    (attempt,) = attempt_files(run)
    assert attempt["outcome"] == "finished"
    assert status(launch, run)["state"] == "finished"


def test_ddp_with_one_rank(make_run, start_ranks):
    run = make_run("training: {nepochs: 1, batch_size: 8}\n")
    change_config(run, strategy="ddp")
    ranks = start_ranks(run)
    ranks.start(0)
    ((code, text),) = ranks.finish()
    assert code == 0, text
    assert run.result_json.exists()


def change_config(run, **execution):
    """Change the run's own config, digest and all, as if it had been written so."""
    record = json.loads(run.run_json.read_text())
    record["config"]["execution"] |= execution
    record["config_sha256"] = config_digest(decode_run_config(record["config"], "test"))
    run.run_json.write_text(json.dumps(record))


def start_train(scan_file, path, *arguments):
    return fork_client.Popen(
        [
            sys.executable, "-m", "ptycho_dist.cli.train", "--train_data_file", str(scan_file),
            "--output_dir", str(path), "--n_filters_scale", "0.125", "--accelerator", "cpu",
            *arguments,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ptycho_train_records_its_end_stops_on_ctrl_c_and_resumes(scan_file, tmp_path, launch):
    run = RunDirectory(tmp_path / "out")
    process = start_train(scan_file, run.path, "--max_epochs", "3000")
    try:
        wait_for(lambda: steps_of(run) > 3, "step")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert status(launch, run)["state"] == "stopped"
    (stop,) = [event["step"] for event in read_ledger(run) if event["event"] == "stopped"]
    refused = launch("resume", run.path)
    assert refused.returncode == 2
    assert "ptycho-train --resume" in refused.stderr
    resumed = fork_client.Popen(
        [sys.executable, "-m", "ptycho_dist.cli.train", "--resume", "--output_dir", str(run.path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(starts_of(run)) == 2, "second start")
        resumed.send_signal(signal.SIGTERM)
        assert resumed.wait(timeout=HANG_S) == 75
    finally:
        resumed.kill()
    assert starts_of(run) == [0, stop]


def steps_of(run):
    heartbeat = read_heartbeats(run).get(0)
    return heartbeat.progress.get("step", 0) if heartbeat else 0


def starts_of(run):
    return [event["step"] for event in read_ledger(run) if event["event"] == "training_started"]


def test_ptycho_train_refuses_wrong_input_in_one_line(tmp_path):
    process = start_train(tmp_path / "none.npz", tmp_path / "out")
    out, errors = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (2, "")
    assert re.search(r"data\.train_data_file: no such file: .*none\.npz", errors)
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_rank_whose_torch_is_broken_says_so_and_is_named(make_run, start_ranks, tmp_path):
    """RD-033, POLICY-001."""
    broken = tmp_path / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise ImportError("libcudart.so.99: cannot open")')
    ranks = start_ranks(make_run(TWO))
    ranks.start(0)
    ranks.start(1, PYTHONPATH=str(broken.parent))
    (first, said_by_first), (second, said_by_second) = ranks.finish()
    assert (first, second) == (1, 2)
    assert "POLICY-001: torch cannot be imported by" in said_by_second
    assert "libcudart.so.99" in said_by_second
    assert "Traceback" not in said_by_second
    assert "error: rank 1: on" in said_by_first
    assert "libcudart.so.99" in said_by_first


def test_a_data_file_that_changed_since_the_plan_is_refused(make_run, start_ranks):
    """RD-036"""
    run = make_run("training: {nepochs: 1, batch_size: 8}\n")
    plan = json.loads(run.plan_json.read_text())
    plan["data"] = {"train_data_file": "0" * 32}
    run.plan_json.write_text(json.dumps(plan))
    ranks = start_ranks(run)
    ranks.start(0)
    ((code, text),) = ranks.finish()
    assert code == 2
    assert "is not the file that the run was planned with" in text


def test_ranks_with_different_plans_do_not_train(make_run, start_ranks, tmp_path):
    """RD-034: the second rank sees another copy of the run directory."""
    run = make_run(TWO)
    ranks = start_ranks(run)
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    plan = json.loads((other / "plan.json").read_text())
    plan["note"] = "another"
    (other / "plan.json").write_text(json.dumps(plan))
    ranks.start(0)
    ranks.run = RunDirectory(other)
    ranks.start(1)
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 1]
    assert all("the ranks differ: plan: rank 0" in text for _, text in results)


def test_a_loss_that_is_no_longer_finite_ends_the_run_before_it_is_committed(make_run, start_ranks):
    """RD-046"""
    run = make_run(TWO)
    change_config(run, learning_rate=1e30)
    ranks = start_ranks(run)
    ranks.start(0)
    ranks.start(1)
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 1]
    assert all("the training loss is no longer finite in epoch" in text for _, text in results)
    assert all("Traceback" not in text for _, text in results)
    assert committed(run) == []
    for path in run.heartbeats.iterdir():
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_signal_before_the_first_step_stops_all_without_training(make_run, start_ranks):
    """RD-061: asked to stop while starting."""
    ranks = start_ranks(make_run(TWO.replace("nepochs: 2", "nepochs: 900")))
    ranks.start(0)
    ranks.start(1)
    wait_for(lambda: len(read_heartbeats(ranks.run)) == 2, "sign of life")
    os.kill(ranks.processes[1].pid, signal.SIGTERM)
    results = ranks.finish()
    assert [code for code, _ in results] == [75, 75]
    events = read_ledger(ranks.run)
    assert len({e["step"] for e in events if e["event"] == "stopped"}) == 1
