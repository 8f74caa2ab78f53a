"""The object at the end of a run, and that of `ptycho-infer`: the same on any number of ranks."""

import json
import os
import shutil
import signal
import socket
import sys

import fork_client
import h5py
import numpy as np
import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory

TEXT = """
reconstruct: {reconstruct}
model: {{architecture: unrolled, stages: 2, n_filters_scale: 1}}
training: {{nepochs: 1, batch_size: 4, nll_weight: 0, mae_weight: 1, probe_trainable: true}}
execution: {{learning_rate: 2.0e-3, scheduler: WarmupCosine}}
resources: {{tasks_per_node: 2}}
requeue: {{on: []}}
"""


def blocks(config):
    config.write_text(config.read_text().replace("npz}", "npz, block_size: 6, n_groups: 11}"))
    return config


@pytest.fixture
def trained(make_config, launch, tmp_path):
    """A run of the unrolled network on two ranks, to its end."""

    def run(reconstruct="true"):
        config = blocks(make_config(TEXT.format(reconstruct=reconstruct)))
        root = tmp_path / "runs"
        done = launch("submit", config, "--cluster", "local", "--wait", "--runs-dir", root)
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = root.iterdir()
        return RunDirectory(path), done.stdout

    return run


@pytest.fixture
def infer(scan_file, as_torchrun):
    """`ptycho-infer`: alone, as two ranks of torchrun, and on more with the variables of torchrun,
    whose own start takes long."""

    def run_it(run, out, ranks):
        options = ["--model_path", str(run.path), "--test_data", str(scan_file), "--output_dir"]
        options += [str(out), "--accelerator", "cpu", "--inference-batch-size", "5"]
        command = [sys.executable, "-m", "ptycho_dist.cli.infer", *options]
        one_thread = {"OMP_NUM_THREADS": "1"}
        if ranks > 2:
            all_done = as_torchrun(command, ranks, **one_thread)
        else:
            if ranks == 2:
                torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
                command[1:1] = [*torchrun, "--master-port", free_port()]
            done = fork_client.run(
                command,
                capture_output=True,
                text=True,
                timeout=HANG_S,
                env={**os.environ, **one_thread},
            )
            all_done = [done]
        for done in all_done:
            assert done.returncode == 0, done.stdout + done.stderr
        with h5py.File(out / "object.h5") as file:
            return file["object"][:], file["probe"][:], file.attrs["data_consistency"]

    return run_it


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_the_object_is_the_same_on_1_2_and_4_ranks(trained, infer, tmp_path):
    """REC-020, REC-022, REC-023, REC-015: at the end of a run, and by `ptycho-infer`."""
    run, shown = trained()
    names = sorted(path.name for path in run.reconstruction.iterdir())
    assert names == ["metrics.json", "object.h5", "object.png"]
    metrics = json.loads(run.reconstruction_metrics.read_text())
    assert metrics["ranks"] == 2
    assert metrics["probe"] == "learned"
    assert json.loads(run.result_json.read_text())["reconstruction"] == metrics["reconstruction"]
    assert "data consistency" in shown
    assert "object.png" in shown
    with h5py.File(run.object_file) as file:
        at_the_end, probe = file["object"][:], file["probe"][:]
    for ranks in (1, 2, 4):
        found, its_probe, consistency = infer(run, tmp_path / f"out{ranks}", ranks)
        scale = np.abs(at_the_end).max()
        np.testing.assert_allclose(found, at_the_end, atol=1e-5 * scale, rtol=0)
        np.testing.assert_allclose(its_probe, probe, rtol=1e-5, atol=1e-5 * np.abs(probe).max())
        assert consistency == pytest.approx(metrics["reconstruction"]["data_consistency"], rel=1e-4)


def test_without_reconstruct_nothing_is_made(trained):
    """REC-022."""
    run, shown = trained("false")
    assert list(run.reconstruction.iterdir()) == []
    assert "reconstruction" not in json.loads(run.result_json.read_text())
    assert "data consistency" not in shown


def test_a_stop_while_reconstructing_is_resumed_without_training(make_config, launch, tmp_path):
    """REC-022: the attempt ends with 75, and the next one adds no step."""
    text = TEXT.format(reconstruct="true").replace("stages: 2", "stages: 32")
    config = blocks(make_config(text))
    root = tmp_path / "runs"
    assert launch("submit", config, "--cluster", "local", "--runs-dir", root).returncode == 0
    (path,) = root.iterdir()
    run = RunDirectory(path)
    pid = wait_for(lambda: reconstructing(run), "reconstruction")
    os.kill(pid, signal.SIGUSR2)
    ends = wait_for(
        lambda: [a for a in attempt_files(run) if a["ended_at"] is not None], "end of the attempt"
    )
    assert ends[0]["exit_code"] == 75
    assert not run.result_json.exists()
    steps = sorted(each.name for each in run.checkpoints.iterdir())
    metrics = (run.metrics / "metrics.csv").read_text()
    resumed = launch("resume", run.path, "--wait")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert sorted(each.name for each in run.checkpoints.iterdir()) == steps
    assert (run.metrics / "metrics.csv").read_text() == metrics
    assert run.reconstruction_metrics.is_file()
    assert "reconstruction" in json.loads(run.result_json.read_text())


def reconstructing(run):
    """The process of a rank that reconstructs; None: there is no such rank yet."""
    beats = read_heartbeats(run).values()
    return next((beat.pid for beat in beats if beat.state == "reconstructing"), None)


def test_an_object_that_cannot_be_written_fails_the_run_on_all_ranks(trained, launch):
    """REC-035: the reason is rank 0's, and nobody waits for the others."""
    run, _ = trained()
    shutil.rmtree(run.reconstruction)
    run.reconstruction.write_text("in the way")
    run.result_json.unlink()
    (attempt,) = run.attempts.iterdir()
    record = json.loads(attempt.read_text())
    record["exit_code"] = 1
    attempt.write_text(json.dumps(record))
    resumed = launch("resume", run.path, "--wait")
    assert resumed.returncode == 1
    states = read_heartbeats(run)
    assert {beat.state for beat in states.values()} == {"failed"}
    assert "cannot be written" in states[0].reason
    assert not run.result_json.exists()
