"""A ledger on a disk that refuses: no event spoils another, and what was made durable is read."""

import errno
import json
import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LedgerWriter, read_ledger

NAME = "001-rank-00000.jsonl"


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "r-1")
    run.ledger.mkdir(parents=True)
    return run


def writer(run):
    return LedgerWriter(run, 1, "rank-00000")


def events(run):
    return [event["event"] for event in read_ledger(run)]


@pytest.mark.parametrize("reason", ["ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EIO", "EFBIG"])
@pytest.mark.parametrize("taken", [0, 1, 40, -1])
def test_a_torn_event_spoils_none_that_comes_later(run, monkeypatch, reason, taken):
    """RD-002, RS-063: the disk takes a part of the event and refuses the rest."""
    write = os.write
    calls = []

    def tear(descriptor, content):
        calls.append(content)
        if len(calls) == 1 and taken:
            return write(descriptor, content[:taken])
        raise OSError(getattr(errno, reason), "refused")

    with writer(run) as ledger:
        ledger.append("before")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", tear)
            with pytest.raises(OSError, match="refused"):
                ledger.append("torn")
        ledger.append("after")
        ledger.append("last")
    whole = ["torn"] if taken == -1 else []  # all but its end: the next event gave it one
    assert events(run) == ["before", *whole, "after", "last"]


def test_a_short_write_is_finished(run, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    with writer(run) as ledger:
        ledger.append("one")
        ledger.append("two")
    assert events(run) == ["one", "two"]
    assert len((run.ledger / NAME).read_text().splitlines()) == 2


def test_an_event_that_was_not_made_durable_is_the_callers_to_judge(run, monkeypatch):
    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    with writer(run) as ledger:
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output"):
            ledger.append("one")
        monkeypatch.undo()
        ledger.append("two")
    assert events(run) == ["one", "two"]


def test_a_real_limit_tears_a_line_and_the_next_one_is_read(run):
    with writer(run) as ledger:
        ledger.append("before")
        size = (run.ledger / NAME).stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                ledger.append("torn")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (run.ledger / NAME).stat().st_size == size + 30
        ledger.append("after")
    assert events(run) == ["before", "after"]


def test_a_writer_goes_on_after_one_that_was_killed_in_mid_write(run):
    with writer(run) as ledger:
        ledger.append("before")
    with (run.ledger / NAME).open("a") as file:
        file.write('{"event": "to')
    assert events(run) == ["before"]
    for event in ("after", "last"):
        with writer(run) as ledger:
            ledger.append(event)
    assert events(run) == ["before", "after", "last"]
    assert "\n\n" not in (run.ledger / NAME).read_text()


lines = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"[" * 100_000, b"null", b"1" * 5000, b'{"time": NaN}', b"\xff\xfe\0{"]),
    st.dictionaries(
        st.sampled_from(["time", "event", "writer", "step"]),
        st.one_of(
            st.none(), st.text(max_size=3), st.integers(), st.just(10**400), st.lists(st.none())
        ),
    ).map(lambda found: json.dumps(found).encode()),
)


@given(found=st.lists(lines, max_size=6))
def test_whatever_stands_in_between_the_events_are_read(run, found):
    """RD-004"""
    (run.ledger / NAME).unlink(missing_ok=True)
    with writer(run) as ledger:
        ledger.append("before", note="\u2028\x0b\x1c")
        with (run.ledger / NAME).open("ab") as file:
            file.write(b"\n".join(found) + b"\n")
        ledger.append("after")
    read = read_ledger(run)
    assert [e for e in read if e.get("writer") == "rank-00000"][-1]["event"] == "after"
    assert {"before", "after"} <= {str(event["event"]) for event in read}
    assert all(float(event["time"]) is not None for event in read)


def test_a_file_that_cannot_be_read_is_one_line(run):
    (run.ledger / NAME).mkdir()
    with pytest.raises(UserError, match=r"001-rank-00000\.jsonl: cannot be read: Is a directory"):
        read_ledger(run)
