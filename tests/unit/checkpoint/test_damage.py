"""If any byte of a checkpoint is damaged an older one is used, and the reason is reported."""

import json
import os
import re
import stat

import pytest

from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.errors import UserError

BLOCK = 4096


@pytest.fixture
def store(make_store, run):
    store = make_store(run, size=250_000)  # a megabyte
    store.save(10, value=1.0)
    store.save(20, value=2.0, ends_epoch=2)
    return store


def with_flipped(path, position):
    """Change one byte of a file in place."""
    with path.open("r+b") as file:
        (byte,) = os.pread(file.fileno(), 1, position)
        os.pwrite(file.fileno(), bytes([byte ^ 0x10]), position)


def test_a_flipped_byte_in_any_block_of_the_state_uses_the_older_one(store):
    """RD-043: in each block of 4 KB, and in the last byte."""
    state = store.at(20).state
    size = state.stat().st_size
    positions = [*range(0, size, BLOCK), size - 1]
    assert len(positions) > 240
    for position in positions:
        with_flipped(state, position)
        found, reasons = newest_whole(store.run)
        assert (found.step, reasons) == (10, ["step-00000020: state.ckpt: checksum differs"])
        with_flipped(state, position)
    assert newest_whole(store.run) == (store.at(20), [])


def test_a_flipped_byte_anywhere_in_the_manifest_is_said_or_says_the_same(store):
    """RD-043, RD-047: no entry of the manifest can change unnoticed."""
    manifest = store.at(20).manifest_path
    said = json.loads(manifest.read_bytes())
    assert said.pop("checksum")
    unseen = 0
    for position in range(manifest.stat().st_size):
        with_flipped(manifest, position)
        found, reasons = newest_whole(store.run)
        if found.step == 20:
            now = store.at(20).manifest()
            unseen += 1
            assert {name: now[name] for name in said} == said
        else:
            assert found.step == 10
            (reason,) = reasons
            assert re.match(r"step-00000020: .*(checksum differs|cannot be read as JSON)", reason)
        with_flipped(manifest, position)
    assert unseen <= len('"checksum"')  # only the name under which its own checksum stands
    assert newest_whole(store.run) == (store.at(20), [])


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("files", None),
        ("files", []),
        ("files", {}),
        ("files", {"state.ckpt": None}),
        ("files", {"state.ckpt": {"bytes": "many", "sha256": 10**400}}),
        ("files", {"state\0.ckpt": {"bytes": 1, "sha256": ""}}),
        ("files", {"\ud800\n\x1b[31m": {"bytes": 1, "sha256": ""}}),
        ("files", {"..": {"bytes": 1, "sha256": ""}}),
        ("files", {"x" * 5000: {"bytes": 1, "sha256": ""}}),
    ],
)
def test_a_manifest_of_other_things_is_one_line(store, entry, value):
    """RD-043: a manifest without its own checksum, as older versions wrote it."""
    manifest = store.at(20).manifest()
    del manifest["checksum"]
    store.at(20).manifest_path.write_text(json.dumps({**manifest, entry: value}))
    found, (reason,) = newest_whole(store.run)
    assert found.step == 10
    assert reason.startswith("step-00000020: ")
    assert reason.isprintable()


@pytest.mark.parametrize("text", ["", "null", "[1]", '"x"', "[" * 100_000, "\x80", "{}"])
def test_a_manifest_that_is_none_is_one_line(store, text):
    """RD-043, RD-047"""
    store.at(20).manifest_path.write_text(text, encoding="latin-1")
    found, (reason,) = newest_whole(store.run)
    assert found.step == 10
    assert reason.isprintable()
    damaged = store.at(20)
    assert (damaged.value, damaged.epoch, damaged.sample, damaged.ended_epoch) == (None,) * 4


def test_a_pipe_in_place_of_the_state_is_not_waited_for(store):
    state = store.at(20).state
    state.unlink()
    os.mkfifo(state)
    assert stat.S_ISFIFO(state.stat().st_mode)
    found, reasons = newest_whole(store.run)
    assert (found.step, reasons) == (10, ["step-00000020: state.ckpt: not a file"])


def test_all_damaged_says_so_of_each(store):
    """RD-044"""
    store.flip(10)
    store.at(20).manifest_path.unlink()
    with pytest.raises(UserError) as raised:
        newest_whole(store.run)
    said = str(raised.value)
    assert said.startswith(f"{store.run.checkpoints}: every checkpoint is damaged (")
    assert "step-00000010: state.ckpt: checksum differs" in said
    assert re.search(
        r"step-00000020: \[Errno 2\] No such file or directory: '.*manifest.json'", said
    )
    assert said.isprintable()


def test_the_manifest_says_where_training_goes_on(store):
    """RD-047: the first checkpoint has no such entry."""
    first, second = store.at(10), store.at(20)
    assert (first.epoch, first.sample, first.ended_epoch) == (None, None, None)
    assert (second.epoch, second.sample, second.ended_epoch) == (2, 0, 2)
    assert first.manifest()["epoch"] is None
    for name, value in {"epoch": True, "sample": -1}.items():
        manifest = {**second.manifest(), name: value}
        second.manifest_path.write_text(json.dumps(manifest))
    assert (second.epoch, second.sample, second.ended_epoch) == (None, None, None)
    second.manifest_path.write_text(json.dumps({"value": 10**400, "epoch": 1.0}))
    assert (second.value, second.epoch) == (None, None)
