"""When checkpoints are made, which are kept, and a disk that refuses them (RS-060 to RS-062)."""

import errno
import json
import os
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from ptycho_dist.checkpoint.catalog import committed, newest_whole
from ptycho_dist.errors import RunError
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.training import commit as commit_room


def text(epochs, **execution):
    fields = ", ".join(f"{name}: {json.dumps(value)}" for name, value in execution.items())
    return (
        "model: {n_filters_scale: 0.125}\n"
        f"training: {{nepochs: {epochs}, batch_size: 4}}\n"
        f"execution: {{{fields}}}\n"
    )


def commits(run):
    return [e["step"] for e in read_ledger(run) if e["event"] == "checkpoint_committed"]


@pytest.mark.effect("execution.checkpoint_every_n_steps")
def test_checkpoints_by_steps(fit):
    """RS-061: an epoch has 10 steps, and its end restarts the count."""
    fit(text(2, checkpoint_every_n_steps=4))
    assert commits(fit.last_run) == [4, 8, 10, 14, 18, 20]
    assert verify(fit.last_run).proven


@pytest.mark.effect("execution.checkpoint_every_s")
def test_checkpoints_by_time(fit, monkeypatch):
    """RS-061: by the clock of a rank, which here advances by a second each time it is read."""

    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls):
            cls.now += 1.0
            return cls.now

    monkeypatch.setattr(commit_room, "time", Clock)
    fit(text(1, checkpoint_every_s=9))
    by_time = commits(fit.last_run)
    assert by_time[-1] == 10
    assert 1 < len(by_time) < 9
    assert verify(fit.last_run).proven


@pytest.mark.parametrize("field", ["checkpoint_every_n_steps", "checkpoint_every_s"])
def test_times_need_checkpoints(fit, field):
    with pytest.raises(Exception, match="needs enable_checkpointing: true, but it is false"):
        fit(text(1, enable_checkpointing=False, **{field: 5}))


@pytest.mark.effect("execution.checkpoint_keep_last", "execution.checkpoint_keep_every_n_epochs")
def test_which_checkpoints_stay(fit):
    """RS-062, RD-048: the newest, the best, and those of every n-th epoch."""
    fit(text(5, checkpoint_keep_last=3, checkpoint_save_top_k=0))
    assert [c.step for c in committed(fit.last_run)] == [30, 40, 50]
    fit(text(5, checkpoint_keep_last=1, checkpoint_save_top_k=0, checkpoint_keep_every_n_epochs=2))
    assert [(c.step, c.epoch) for c in committed(fit.last_run)] == [(20, 2), (40, 4), (50, 5)]


class FullDisk:
    """Refuses a number of checkpoints, each at the fsync of its state."""

    def __init__(self, monkeypatch, run_again_after):
        self.left = run_again_after
        self.fsync = os.fsync
        monkeypatch.setattr("ptycho_dist.checkpoint.io.os.fsync", self)

    def __call__(self, descriptor):
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if path.endswith("state.ckpt") and self.left > 0:
            self.left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(descriptor)


def test_a_run_outlives_a_disk_that_is_full_for_a_while(fit, monkeypatch, caplog):
    """RS-060: the next commit holds the ranges of those that were not committed."""
    FullDisk(monkeypatch, 2)
    fit(text(4))
    run = fit.last_run
    assert commits(run) == [30, 40]
    failed = [e for e in read_ledger(run) if e["event"] == "checkpoint_failed"]
    assert [event["step"] for event in failed] == [10, 20]
    assert "No space left on device" in failed[0]["reason"]
    assert "the run continues" in caplog.text
    assert verify(run).proven
    assert newest_whole(run)[0].step == 40


def test_the_third_in_a_row_ends_it_clearly_with_the_last_good_one(fit, monkeypatch):
    """RS-060"""
    disk = FullDisk(monkeypatch, 0)

    class FillsUp(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 20:
                disk.left = 99

    with pytest.raises(RunError, match=r"step 50 is not written \(3 in a row\): .*No space left"):
        fit(text(9), FillsUp())
    newest, reasons = newest_whole(fit.last_run)
    assert (newest.step, reasons) == (20, [])


def test_a_stop_without_its_checkpoint_is_a_failure(fit, monkeypatch):
    """RS-060: it must not look like a stop that loses nothing."""
    stop = [{"attempt": 1, "rank": 0, "place": "training", "epoch": 1, "batch": 3}]
    FullDisk(monkeypatch, 99)
    with pytest.raises(RunError, match=r"not written \(2 in a row\): .*No space left on device"):
        fit(text(3), interruptions=[{**each, "signal": "SIGUSR2"} for each in stop])
    assert not [e for e in read_ledger(fit.last_run) if e["event"] == "stopped"]
