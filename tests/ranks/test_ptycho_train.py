"""`ptycho-train` alone, with two ranks of its own, under torchrun, and as a submitted run."""

import csv
import json
import signal
import subprocess
import sys

import fork_client
import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

# As users of PtychoPINN's command type it.
PEER = [
    "--max_epochs", "2", "--n_images", "36", "--gridsize", "2", "--batch_size", "4",
    "--torch-loss-mode", "poisson", "--no-probe-mask", "--deterministic", "--num-workers", "0",
    "--learning-rate", "1e-3", "--logger", "csv", "--enable-checkpointing",
    "--checkpoint-save-top-k", "1", "--checkpoint-monitor", "val_loss", "--checkpoint-mode", "min",
    "--early-stop-patience", "100", "--scheduler", "Default", "--accumulate-grad-batches", "1",
    "--quiet", "--n_filters_scale", "0.125",
]  # fmt: skip
SHORT = ["--set", "reconstruct=false"]


@pytest.fixture
def train(scan_file, tmp_path):
    def run(name, *words, start=(sys.executable, "-m", "ptycho_dist.train"), timeout=HANG_S):
        path = tmp_path / name
        command = [*start, "--train_data_file", scan_file, "--output_dir", path, *PEER, *words]
        done = fork_client.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=timeout
        )
        return done, RunDirectory(path)

    return run


def losses(run):
    with (run.metrics / "metrics.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


def joined(run):
    return [event for event in read_ledger(run) if event["event"] == "joined"]


def test_one_rank_with_the_flags_of_the_peer(train):
    """EC-032, EC-038: to a reconstruction, with the origin of each value in the run directory."""
    done, run = train("one", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "warning: --device is deprecated; use --accelerator cpu" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(losses(run)) == 2
    assert run.object_file.exists()
    record = json.loads(run.run_json.read_text())
    assert record["config"]["execution"]["accelerator"] == "cpu"
    origins = record["origins"]
    assert origins["data.n_groups"] == "--n_images"
    assert origins["execution.learning_rate"] == "--learning-rate"
    assert origins["execution.strategy"] == "ptycho-train default"
    assert origins["model.N"] == "data file"
    assert origins["training.seed"] == "ptycho-train default"
    assert "learning_rate = " not in done.stdout  # --quiet
    (event,) = joined(run)
    assert (event["device"], event["strategy"]) == ("cpu", "single device")
    again, _ = train("one")
    assert (again.returncode, again.stdout) == (2, "")
    assert "already contains a run; continue it with --resume" in again.stderr


def test_two_ranks_give_one_result_however_they_are_started(train, launch, tmp_path):
    """EC-038: by --devices, by torchrun, and by ptycho-launch from the run.yaml of the first.

    EC-059: the progress bar is rank 0's alone, and plain text where no terminal is.
    """
    bar = ("--set", "execution.enable_progress_bar=true")
    done, alone = train("alone", "--devices", "2", *SHORT, *bar)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    torchrun = (
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-port", "29437", "-m", "ptycho_dist.train",
    )  # fmt: skip
    done, under_torchrun = train("torchrun", *SHORT, start=torchrun)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recvValue failed" not in done.stderr  # rank 0's store leaves last
    root = tmp_path / "runs"
    done = launch(
        "submit", alone.path / "run.yaml", "--cluster", "local", "--wait", "--runs-dir", root
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = root.iterdir()
    own = alone.rank_log(1, 1).read_text()
    assert ("Epoch 1" in shown, "Epoch 1" in own, "\x1b" in shown + own) == (True, False, False)
    runs = [alone, under_torchrun, RunDirectory(path)]
    assert losses(runs[0]) == losses(runs[1]) == losses(runs[2])
    for run, source in zip(runs, ("local", "torchrun", "local"), strict=True):
        assert {(event["rank"], event["source"]) for event in joined(run)} == {
            (0, source),
            (1, source),
        }
        assert attempt_files(run)[0]["outcome"] == "finished"


def test_ctrl_c_stops_the_ranks_of_ptycho_train_and_resume_goes_on(scan_file, tmp_path):
    """EC-039"""
    run = RunDirectory(tmp_path / "out")
    start = [sys.executable, "-m", "ptycho_dist.train", "--output_dir", str(run.path)]
    words = [*PEER, "--train_data_file", str(scan_file), "--devices", "2", "--max_epochs", "3000"]
    steps = []
    for further in (words, ["--resume"]):
        process = fork_client.Popen(
            [*start, *further], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_for(lambda: trained_beyond(run, steps), "step")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=HANG_S)
        finally:
            process.kill()
        assert process.returncode == 75, errors
        assert "Traceback" not in errors
        stopped = [e for e in read_ledger(run) if e["event"] == "stopped"]
        steps.append(stopped[-1]["step"])
    assert len(stopped) == 4  # two ranks, twice
    assert steps[1] > steps[0]
    starts = [e["step"] for e in read_ledger(run) if e["event"] == "training_started"]
    assert starts == [0, 0, steps[0], steps[0]]


def trained_beyond(run, steps):
    heartbeat = read_heartbeats(run).get(0)
    step = -1 if heartbeat is None else heartbeat.progress.get("step", -1)
    attempts = attempt_files(run) if run.attempts.is_dir() else []
    mine = heartbeat is not None and heartbeat.attempt == len(steps) + 1 == len(attempts)
    return mine and step > (steps[-1] if steps else 3)


def test_ranks_of_another_number_than_devices_are_refused(train):
    """EC-011: by every rank, in one line, and nothing is left behind."""
    torchrun = (
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-port", "29438", "-m", "ptycho_dist.train",
    )  # fmt: skip
    done, run = train("other", "--devices", "3", start=torchrun)
    assert done.returncode != 0
    assert "execution.devices: 3, but resources give 2 ranks per node" in done.stderr
    assert not run.path.exists()


def test_many_knobs_off_their_defaults_train_together_on_two_ranks(train):
    """EC-055 to EC-061"""
    done, run = train(
        "knobs", "--devices", "2", "--gridsize", "1", "--precision", "bf16-mixed",
        "--gradient-clip-algorithm", "agc", "--gradient-clip-val", "0.1", "--num-workers", "1",
        "--accumulate-grad-batches", "2", "--checkpoint-save-top-k", "-1", "--strategy", "ddp",
        "--logger", "tensorboard", "--scheduler", "Exponential",
        "--set", "execution.recon_log_every_n_epochs=1", "--set", "execution.recon_log_stitch=true",
        *SHORT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(loss < 1e4 for loss in losses(run))
    assert len(list(run.checkpoints.glob("step-*"))) == 2
    assert len(list((run.metrics / "tensorboard").iterdir())) == 1  # rank 0 alone
    for epoch in ("epoch-0000", "epoch-0001"):
        pictures = (run.reconstruction / epoch).iterdir()
        assert sorted(path.name for path in pictures) == ["object.png", "patches.png"]
