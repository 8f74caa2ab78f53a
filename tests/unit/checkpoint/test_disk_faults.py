"""Each disk call of a save fails once, or from then on, for each reason."""

import errno
import io
import os
import re
import shutil
from pathlib import Path

import pytest

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.checkpoint.io import CheckpointNotWritten

REASONS = ["ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EIO", "EFBIG"]
SEAMS = {
    "mkdir": (Path, "mkdir"),
    "open": (Path, "open"),
    "descriptor": (os, "open"),  # of the directory that is fsynced
    "read": (Path, "read_bytes"),
    "fsync": (os, "fsync"),
    "rename": (Path, "rename"),
    "list": (Path, "iterdir"),
    "find": (os, "listdir"),  # of the attempts
    "stat": (Path, "stat"),
    "remove": (shutil, "rmtree"),
}


class Fault:
    """Refuses calls `first` to `last` of one function, and counts all calls."""

    def __init__(self, monkeypatch, seam, first=0, last=0, number=0):
        self.calls, self.first, self.last, self.number = 0, first, last, number
        if seam == "write":
            self._writes(monkeypatch)
        else:
            owner, name = SEAMS[seam]
            original = getattr(owner, name)

            def call(*arguments, **options):
                self.count()
                return original(*arguments, **options)

            monkeypatch.setattr(owner, name, call)

    def _writes(self, monkeypatch):
        class Disk(io.FileIO):
            def write(disk, content):
                if self.first == self.calls + 1:  # what fits goes in before it is full
                    super().write(bytes(content[: len(content) // 2]))
                self.count()
                return super().write(content)

        monkeypatch.setattr(io, "FileIO", Disk)

    def count(self):
        self.calls += 1
        if self.first <= self.calls <= self.last:
            raise OSError(self.number, os.strerror(self.number))


@pytest.fixture(params=["new", "replaced"])
def case(request, run, make_store):
    """Epochs 1 to 4 are committed, the first is the best; 5 is saved, or 4 a second time."""
    store = make_store(run, keep={"keep_every_n_epochs": 2})
    for step in (1, 2, 3, 4):
        store.save(step, value=float(step), ends_epoch=step)
    assert store.whole() == [1, 2, 3, 4]
    if request.param == "replaced":
        store.begin()
        return store, 4, [1, 2, 3, 4]
    return store, 5, [1, 2, 4, 5]


@pytest.fixture
def template(case, tmp_path):
    shutil.copytree(case[0].run.path, tmp_path / "template")
    return tmp_path / "template"


@pytest.mark.parametrize("once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("seam", [*SEAMS, "write"])
def test_a_disk_that_refuses_loses_nothing(case, template, monkeypatch, seam, once):
    """RD-040, RD-042, RD-044"""
    store, step, expected = case

    def save():
        store.save(step, value=float(step), ends_epoch=step)

    def reset():
        shutil.rmtree(store.run.checkpoints)
        shutil.copytree(template / "checkpoints", store.run.checkpoints)
        store.io = type(store.io)(store.run, store.attempt, **store.keep)

    reset()
    with monkeypatch.context() as patch:
        calls = Fault(patch, seam)
        save()
    assert calls.calls > 0
    assert store.whole() == expected
    refusals = 0
    for first in range(1, calls.calls + 1):
        for reason in REASONS if once else ["ENOSPC", "ESTALE"]:
            reset()
            before = store.content()
            number = getattr(errno, reason)
            with monkeypatch.context() as patch:
                Fault(patch, seam, first, first if once else 10**9, number)
                try:
                    save()
                    said = None
                except CheckpointNotWritten as error:
                    said = str(error)
            where = (reason, first, said)
            after = store.content()
            assert {s for s, _ in before} - {3} <= set(store.whole()), where
            if said is None:
                assert step in store.whole(), where
            else:
                refusals += 1
                assert said.startswith(f"{store.run.checkpoints}: {checkpoint_name(step)} "), where
                assert re.search(f" was not written: [^;]*{os.strerror(number)}; ", said), where
                assert "no good checkpoint" not in said, where
                assert said.isprintable(), where
                untouched = {key for key in before if key[0] != step}
                assert {key: after[key] for key in untouched} == {
                    key: before[key] for key in untouched
                }, where
            save()
            save()
            assert store.whole() == store.steps() == expected, where
            assert store.hidden() == [], where
    assert refusals or seam in ("list", "read", "remove"), "nothing was refused"
