"""A really full disk: earlier checkpoints are kept, and saving works again once there is room."""

import contextlib
import errno
import os
import resource
import subprocess
from pathlib import Path

import pytest
import torch

from ptycho_dist.checkpoint.catalog import checkpoint_name, newest_whole
from ptycho_dist.checkpoint.io import CheckpointNotWritten
from ptycho_dist.checkpoint.state import read_state

KIB = 1024


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, for checkpoints of 400 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount; the limit of a file's size is tested in its place")
    yield place
    subprocess.run(["umount", place], check=True)


@contextlib.contextmanager
def no_file_larger_than(size):
    """Python ignores SIGXFSZ: a write beyond the limit is EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def only_so_much_left(place, left):
    """Fill the file system except for `left` bytes."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4 * KIB))
    os.truncate(filler, filler.stat().st_size - left)
    try:
        yield
    finally:
        filler.unlink()


def refused(store, step, reason):
    before = store.content()
    with pytest.raises(CheckpointNotWritten) as raised:
        store.save(step)
    assert str(raised.value) == (
        f"{store.run.checkpoints}: {checkpoint_name(step)} was not written: {reason}; "
        f"the last good checkpoint is {checkpoint_name(store.steps()[-1])}; "
        "make room or repair the disk, then ptycho-launch resume r-1"
    )
    assert store.content() == before
    assert store.hidden() == []


@pytest.mark.parametrize("left", [0, 4 * KIB, 8 * KIB, 100 * KIB, 396 * KIB])
def test_a_full_file_system(make_run, make_store, small_disk, left):
    """RD-040: before the first byte, in the middle, or for the manifest alone."""
    store = make_store(make_run(small_disk / "runs" / "r-1"), size=100_000)
    for step in (1, 2):
        store.save(step)
    with only_so_much_left(small_disk, left):
        refused(store, 3, "No space left on device")
        refused(store, 3, "No space left on device")
    store.save(3)
    assert store.whole() == [2, 3]
    assert float(read_state(newest_whole(store.run)[0])["state_dict"]["w"][0]) == 3.0


@pytest.mark.parametrize("limit", [0, 10, 300, 5000, 200 * KIB, 390 * KIB])
def test_a_file_that_may_not_grow(make_store, run, limit):
    """RD-040: torch says `unexpected pos` if the disk refuses; its own reason is reported."""
    store = make_store(run, size=100_000)
    for step in (1, 2):
        store.save(step)
    assert store.at(2).state.stat().st_size > 390 * KIB
    with no_file_larger_than(limit):
        refused(store, 3, "File too large")
    store.save(3)
    assert store.whole() == [2, 3]


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598\nframe #0",
        "PytorchStreamWriter failed writing file data/0: file write failed",
        "basic_ios::clear: iostream error",
    ],
)
def test_what_torch_says_of_a_file_without_the_disks_reason(make_store, run, monkeypatch, said):
    """RD-040"""
    store = make_store(run)
    store.save(1)

    def fail(*_):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "save", fail)
    refused(store, 2, said.splitlines()[0])


def test_what_is_no_fault_of_the_disk_is_not_called_one(make_store, run, monkeypatch):
    store = make_store(run)
    store.save(1)

    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="CUDA error"):
        store.save(2)
    assert store.whole() == [1]
    assert store.hidden() == []


def test_bytes_that_read_back_otherwise_are_not_committed(make_store, run, monkeypatch):
    """RD-040: older checkpoints are removed because the new one is whole."""
    store = make_store(run)
    store.save(1)
    fsync = os.fsync

    def spoil(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "state.ckpt":
            path = next(run.checkpoints.glob(".*/state.ckpt"))
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spoil)
    refused(store, 2, "state.ckpt reads back with another checksum than was written")


def test_a_commit_that_may_not_outlast_a_power_cut_is_made_durable_next_time(
    make_store, run, monkeypatch
):
    """RD-040: the rename was made, and the directory could not be fsynced."""
    store = make_store(run)
    store.save(1)
    fsync = os.fsync
    directories = []

    def of_directories(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink() == run.checkpoints:
            directories.append(descriptor)
            if len(directories) == 1:
                raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_directories)
    said = "Input/output error; the last good checkpoint is step-00000001"
    with pytest.raises(CheckpointNotWritten, match=said):
        store.save(2)
    assert store.whole() == [1, 2]
    store.save(2)
    assert len(directories) == 2
    assert store.whole() == [1, 2]
