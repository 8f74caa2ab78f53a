"""The files of the ranks' times: what is written is read, whatever else is there."""

import errno
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.step_times import (
    PHASES,
    START_UP,
    Block,
    TimesWriter,
    block_record,
    read_step_times,
)

RANK = {
    "kind": "rank", "node": "n1", "machine": "ab", "cores": 4, "threads": 2, "device": "cpu",
    "started_at": 5.5, "start_up_s": dict.fromkeys(START_UP, 1.5),
}  # fmt: skip
USAGE = {"kind": "usage", "host_peak_bytes": 7, "device_peak_bytes": 8, "gpu_utilisation": 0.5}


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path)
    run.metrics.mkdir()
    return run


def block(first, steps=1):
    return Block(first, steps, 3, 1e9 + first, 7.0, dict.fromkeys(PHASES, 1.0))


def file_of(run, name="001-rank-00000.jsonl"):
    path = run.metrics / "steps" / name
    path.parent.mkdir(exist_ok=True)
    return path


def test_what_is_written_is_read(run):
    """SC-026, SC-028: the newest usage counts; other attempts are apart."""
    for rank in (0, 3):
        writer = TimesWriter(run, 2, rank)
        writer.put([RANK, block_record(block(0)), {**USAGE, "host_peak_bytes": 1}])
        writer.put([block_record(block(1)), block_record(block(2, 10)), USAGE])
    TimesWriter(run, 1, 0).put([RANK])
    times = read_step_times(run, 2)
    assert sorted(times) == [0, 3]
    found = times[3]
    assert found.blocks == (block(0), block(1), block(2, 10))
    assert (found.rank, found.node, found.machine) == (3, "n1", "ab")
    assert (found.cores, found.threads, found.device, found.started_at) == (4, 2, "cpu", 5.5)
    assert found.start_up_s == RANK["start_up_s"]
    assert (found.host_peak_bytes, found.device_peak_bytes, found.gpu_utilisation) == (7, 8, 0.5)
    assert read_step_times(run, 1)[0].blocks == ()
    assert read_step_times(run, 9) == {}


def test_a_full_disk_stops_nothing_and_spoils_one_line(run, monkeypatch):
    """SC-026"""
    writer = TimesWriter(run, 1, 0)
    writer.put([RANK])
    opened = Path.open

    class Full:
        def __init__(self, path, mode):
            self.file = opened(path, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, text):
            self.file.write(text[: len(text) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, mode: Full(path, mode))
        writer.put([block_record(block(0))])
    writer.put([block_record(block(1))])
    assert read_step_times(run, 1)[0].blocks == (block(1),)
    TimesWriter(RunDirectory(run.path / "gone"), 1, 0).put([RANK])


WORDS = [
    "", "null", "[]", "{}", "7", '"kind"', "{", '{"kind": ["block"]}', "[" * 100_000, "\x00\xff",
    '{"kind": "block", "first_step": 1e999}', "9" * 5000, '{"kind": "block", "parts_s": []}',
]  # fmt: skip
VALUES = [
    None, True, -1, 10**400, 1e300, math.nan, math.inf, "x", [], {}, "\x1b[31m", "a" * 1000,
]  # fmt: skip


@settings(max_examples=40)
@given(
    lines=st.lists(st.sampled_from(WORDS) | st.text(), max_size=6),
    field=st.sampled_from(["first_step", "steps", "samples", "ended_at", "wall_s", "parts_s"]),
    value=st.sampled_from(VALUES),
)
def test_lines_that_no_rank_writes_are_left_out(tmp_path_factory, lines, field, value):
    """SC-028"""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.metrics.mkdir()
    bad = json.dumps({**block_record(block(0)), field: value})
    bad_part = json.dumps(
        {**block_record(block(0)), "parts_s": {**block(0).parts_s, "data": value}}
    )
    text = "\n".join([*lines, bad, bad_part, json.dumps(block_record(block(4))), ""])
    file_of(run).write_bytes(text.encode("utf-8", "replace"))
    times = read_step_times(run, 1)[0]
    assert times.blocks == (block(4),)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_facts_that_no_rank_writes_are_unknown(run, value):
    """SC-028: nothing that moves a terminal's cursor, no number that is none."""
    records = [
        {"kind": "rank", **{name: value for name in RANK if name != "kind"}},
        {"kind": "rank", **RANK, "start_up_s": {"imports": value, "opening": 2}},
        {"kind": "usage", **{name: value for name in USAGE if name != "kind"}},
    ]
    path = file_of(run)
    for record in records:
        path.write_text(json.dumps(record) + "\n")
        times = read_step_times(run, 1)[0]
        assert times.node in {"", "x", "n1"}
        assert times.host_peak_bytes is None
        assert times.gpu_utilisation is None
        assert times.started_at in {None, 5.5}
        assert set(times.start_up_s) <= {"opening"}


def test_blocks_that_overlap_and_files_that_are_none_are_left_out(run):
    """SC-028: a pipe in place of a file would be waited for."""
    lines = [block_record(block(first, 2)) for first in (4, 5, 3, 6)]
    file_of(run).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "bl')
    os.mkfifo(file_of(run, "001-rank-00001.jsonl"))
    file_of(run, "001-rank-00002.jsonl").mkdir()
    for name in ("001-rank-x.jsonl", "001-rank-1.jsonl", "001-rank-99999999999.jsonl"):
        file_of(run, name).write_text("")
    times = read_step_times(run, 1)
    assert [b.first_step for b in times[0].blocks] == [4, 6]
    assert {rank: each.blocks for rank, each in times.items() if rank} == {1: (), 2: ()}
