"""A checkpoint is whole or absent, and only the attempt in charge commits (RD-040 to RD-044)."""

import os
import random
import signal
from pathlib import Path

import pytest
import torch

from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.checkpoint.catalog import (
    Checkpoint,
    best_whole,
    checkpoint_name,
    committed,
    newest_whole,
)
from ptycho_dist.checkpoint.io import CheckpointNotWritten, RunCheckpointIO, SupersededAttempt
from ptycho_dist.errors import UserError


def begin(run):
    return begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"])


def state(step, value=0.0):
    return {"global_step": step, "state_dict": {"w": torch.full((1000,), value)}}


def save(run, attempt, step, value=0.0):
    RunCheckpointIO(run, attempt).save_checkpoint(
        state(step, value), run.checkpoints / checkpoint_name(step)
    )


def damage(checkpoint):
    content = bytearray(checkpoint.state.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.state.write_bytes(content)


def value(run, attempt):
    found, _ = newest_whole(run)
    loaded = RunCheckpointIO(run, attempt).load_checkpoint(found.path)
    return float(loaded["state_dict"]["w"][0])


def test_a_damaged_checkpoint_is_made_anew_when_its_step_comes_again(run):
    attempt = begin(run)
    save(run, attempt, 10)
    save(run, attempt, 20, 1.0)
    damage(committed(run)[-1])
    assert newest_whole(run)[0].step == 10
    again = begin(run)
    save(run, again, 20, 2.0)
    assert newest_whole(run) == (committed(run)[-1], [])
    assert value(run, again) == 2.0
    assert not list(run.checkpoints.glob(".*"))


def test_a_whole_one_of_the_same_attempt_is_left_and_of_another_replaced(run):
    attempt = begin(run)
    save(run, attempt, 10, 1.0)
    save(run, attempt, 10, 2.0)
    assert value(run, attempt) == 1.0
    later = begin(run)
    save(run, later, 10, 3.0)
    assert value(run, later) == 3.0


@pytest.mark.parametrize("step", [10, 20])
def test_a_superseded_attempt_commits_nothing(run, step):
    """RD-041: whether or not the step exists already, even as its own."""
    first = begin(run)
    save(run, first, 10, 1.0)
    second = begin(run)
    with pytest.raises(SupersededAttempt, match="a later attempt has begun"):
        save(run, first, step, 9.0)
    assert value(run, second) == 1.0
    save(run, second, 10, 2.0)
    with pytest.raises(SupersededAttempt):
        save(run, first, step, 9.0)
    assert value(run, second) == 2.0
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000010"]


def test_an_attempt_superseded_while_it_writes_commits_nothing(run, monkeypatch):
    first = begin(run)
    save(run, first, 10, 1.0)
    write = torch.save

    def slow(*arguments):
        write(*arguments)
        begin(run)

    monkeypatch.setattr(torch, "save", slow)
    with pytest.raises(SupersededAttempt):
        save(run, first, 20, 9.0)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000010"]


def test_two_are_kept_and_the_newest_whole_one_always(run):
    attempt = begin(run)
    for step in (1, 2, 3):
        save(run, attempt, step)
    assert [c.step for c in committed(run)] == [2, 3]
    for step in (8, 9):
        save(run, attempt, step)
    for checkpoint in committed(run):
        damage(checkpoint)
    save(run, attempt, 4, 4.0)  # the steps are gone through again
    assert newest_whole(run)[0].step == 4
    save(run, attempt, 5, 5.0)
    assert value(run, attempt) == 5.0


def test_the_best_whole_one_is_found(run):
    """RD-047, EC-052: damaged ones and those without a value are passed over."""
    io = RunCheckpointIO(run, begin(run), save_top_k=-1)
    values = {10: 3.0, 20: 1.0, 30: 2.0, 40: None, 50: -1.0, 60: True}
    assert best_whole(run, "min") is None
    for step, value in values.items():
        io.save_checkpoint(
            {**state(step), "monitored": value}, run.checkpoints / checkpoint_name(step)
        )
    manifest = run.checkpoints / checkpoint_name(50) / "manifest.json"
    manifest.write_text(manifest.read_text().replace("-1.0", "NaN"))
    assert [found.value for found in committed(run)] == [3.0, 1.0, 2.0, None, None, None]
    assert best_whole(run, "min").step == 20
    assert best_whole(run, "max").step == 10
    damage(best_whole(run, "min"))
    assert best_whole(run, "min").step == 30


def test_all_damaged_is_an_error_and_none_is_not(run):
    assert newest_whole(run) == (None, [])
    attempt = begin(run)
    save(run, attempt, 1)
    (committed(run)[0].path / "manifest.json").unlink()
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        newest_whole(run)


def test_nothing_but_tensors_and_plain_values_is_unpickled(run):
    """RD-004"""
    attempt = begin(run)
    poisoned = {"global_step": 1, "state_dict": {}, "evil": signal.Signals.SIGTERM}
    RunCheckpointIO(run, attempt).save_checkpoint(poisoned, run.checkpoints / checkpoint_name(1))
    with pytest.raises(UserError, match="plain values"):
        RunCheckpointIO(run, attempt).load_checkpoint(committed(run)[0].path)


def test_a_checkpoint_with_damaged_bytes_is_one_line(run):
    """Checksums are verified when it is chosen; a file that torch cannot read later is an error."""
    attempt = begin(run)
    save(run, attempt, 1)
    checkpoint = committed(run)[0]
    whole = checkpoint.state.read_bytes()
    generator = random.Random(5)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(8):
            content[generator.randrange(len(content))] = generator.randrange(256)
        checkpoint.state.write_bytes(content)
        assert checkpoint.size_fault() is None
        assert "checksum differs" in checkpoint.fault()
        try:
            RunCheckpointIO(run, attempt).load_checkpoint(checkpoint.path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - some damage is in the numbers
    checkpoint.state.write_bytes(b"PK" + whole[2:100] + bytes(len(whole) - 100))
    with pytest.raises(UserError, match="cannot be read as tensors and plain values"):
        RunCheckpointIO(run, attempt).load_checkpoint(checkpoint.path)
    checkpoint.state.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"damaged: state.ckpt: \d+ bytes, \d+ were written"):
        RunCheckpointIO(run, attempt).load_checkpoint(checkpoint.path)


def test_a_replacement_that_fails_puts_the_old_one_back(run, monkeypatch):
    save(run, begin(run), 10, 1.0)
    again = begin(run)
    rename = Path.rename

    def refuse(path, target):
        if path.name.endswith(".tmp") and path.is_dir():
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    said = "Input/output error; the last good checkpoint is step-00000010"
    with pytest.raises(CheckpointNotWritten, match=said):
        save(run, again, 10, 2.0)
    monkeypatch.undo()
    assert value(run, again) == 1.0
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000010"]


def test_a_cut_off_checkpoint_does_not_push_an_older_whole_one_out(run):
    attempt = begin(run)
    save(run, attempt, 1)
    save(run, attempt, 2)
    os.truncate(committed(run)[-1].state, 10)
    save(run, attempt, 3)
    assert [c.step for c in committed(run)] == [1, 2, 3]
    save(run, attempt, 4)
    assert [c.step for c in committed(run)] == [3, 4]


def test_a_checkpoint_removed_while_it_is_looked_at_is_no_damage(run, monkeypatch):
    """ptycho-infer on a running run: what was listed first has been removed."""
    attempt = begin(run)
    save(run, attempt, 1)
    fault = Checkpoint.fault

    def slow(checkpoint):
        monkeypatch.undo()
        save(run, attempt, 2)
        save(run, attempt, 3)
        return fault(checkpoint)

    monkeypatch.setattr(Checkpoint, "fault", slow)
    found, reasons = newest_whole(run)
    assert (found.step, reasons) == (3, [])


def test_a_run_directory_without_its_folder_of_checkpoints(run):
    run.checkpoints.rmdir()
    with pytest.raises(UserError, match="checkpoints: cannot be read: No such file"):
        newest_whole(run)
