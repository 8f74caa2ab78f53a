"""`logs`: which lines, in which order, and from where (RD-220 to RD-224)."""

import io
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import HANG_S

from launcher.cli import main
from launcher.text.plain_text import for_stdout
from launcher.watching import log_files as files_room
from launcher.watching.log_files import LogFile, LogReader, tail_offset
from launcher.watching.logs import LogSelection, log_lines
from ptycho_dist.errors import UserError

DAY = "2026-01-01 00:00:"


def lines(run, **selection):
    return list(log_lines(run.run, LogSelection(**selection)))


@pytest.fixture
def run(pretend, commands):
    """Two attempts of two ranks, the second requeued."""
    began = [time.mktime((2026, 1, 1, 0, 0, second, 0, 0, -1)) for second in (0, 30)]
    run = pretend()
    run.submitted()
    run.attempt(1, ended=("failed", "crash", "rank 1 died"), restart=True, started_at=began[0])
    run.attempt(2, ended=("failed", "crash", "rank 0 died"), started_at=began[1])
    run.log("batch-7.log", "attempt 1: restart\n")
    run.log("batch-8.log", "of another job\n")
    run.log(
        "attempt-001-rank-00000.log",
        f"no time\n{DAY}02,000 a\nof a\n{DAY}05,000 c\n{DAY}09,500 e",
    )
    run.log("attempt-001-rank-00001.log", f"{DAY}01,000 0\n{DAY}03,000 b\n{DAY}09,000 d\n")
    run.log("attempt-002-rank-00000.log", f"import warning\n{DAY}31,000 f\n")
    run.log("attempt-002-rank-00001.log", "plain 1\nplain 2\n")
    return run


def test_ranks_are_merged_by_time_lines_without_one_stay_where_they_are(run):
    """RD-220"""
    assert [line.rpartition(" ")[2] for line in lines(run, attempt=1)] == [
        "restart", "time", "0", "a", "a", "b", "c", "d", "e",
    ]  # fmt: skip
    assert lines(run) == [
        "[batch] attempt 1: restart",
        "[rank 0] import warning",
        "[rank 1] plain 1",
        "[rank 1] plain 2",
        f"[rank 0] {DAY}31,000 f",
    ]
    assert lines(run, rank=1) == ["plain 1", "plain 2"]
    whole = lines(run, all_attempts=True, rank=0)
    assert [line[-1] for line in whole if line.startswith(DAY)] == ["a", "c", "e", "f"]
    assert whole.index("== attempt 2 ==") == whole.index("import warning") - 1


def test_the_log_of_a_job_that_came_to_no_attempt_is_shown(run):
    run.submitted("8")
    assert "[batch] of another job" in lines(run)
    assert "[batch] of another job" not in lines(run, attempt=1)


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ({"rank": 9}, "no log of rank 9"),
        ({"attempt": 3}, "no attempt 3; it has attempts 1 to 2"),
        ({"attempt": -1}, "no attempt -1; it has attempts 1 to 2"),
        ({"tail": -1}, "--tail"),
    ],
)
def test_missing_logs_and_attempts_are_errors(run, selection, words):
    with pytest.raises(UserError, match=words):
        lines(run, **selection)


text = st.lists(st.text(st.characters(exclude_characters="\n"), max_size=30), max_size=30)


@given(text, st.booleans(), st.integers(0, 40), st.integers(1, 20))
def test_a_tail_is_the_last_lines_whatever_the_blocks(tmp_path_factory, said, ended, count, block):
    """RD-221"""
    path = tmp_path_factory.mktemp("log") / "x.log"
    content = "\n".join(said) + ("\n" if ended and said else "")
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    expected = content.split("\n")
    if expected[-1] == "":
        expected.pop()
    expected = expected[-count:] if count else []
    room = pytest.MonkeyPatch()
    room.setattr(files_room, "_BLOCK", block)
    try:
        reader = LogReader(LogFile(path, 1, 0), offset=tail_offset(path, count))
        found = [line.text for line in reader.lines(whole=True)]
    finally:
        room.undo()
    wanted = [each.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for each in expected]
    assert found == wanted


def test_the_tail_of_a_huge_log_is_read_from_its_end(run):
    """RD-221: a hole of 20 GB, which could not be read in time, then two lines."""
    with (run.run.logs / "attempt-002-rank-00000.log").open("r+b") as file:
        file.seek(20 * 10**9)
        file.write(b"\nlast but one\nlast\n")
    assert lines(run, rank=0, tail=2) == ["last but one", "last"]


def test_a_line_without_an_end_is_not_held_as_a_whole(run, monkeypatch):
    """RD-221"""
    monkeypatch.setattr(files_room, "_LONGEST", 1000)
    monkeypatch.setattr(files_room, "_BLOCK", 300)
    run.log("attempt-002-rank-00000.log", b"\xff" * 5000 + b"\nend\n")
    found = lines(run, rank=0)
    assert max(map(len, found)) <= 1300
    assert sum(map(len, found[:-1])) == 5000
    assert found[-1] == "end"


def test_following_goes_on_over_a_requeue_and_misses_nothing(pretend, commands, monkeypatch):
    """RD-222: lines in pieces, an attempt that begins meanwhile, a last line without a newline."""
    monkeypatch.setattr("launcher.watching.logs.POLL_S", 0.01)
    commands(squeue='echo "7|RUNNING|N/A|None"')
    run = pretend()
    run.submitted()
    run.attempt(1)
    run.log("attempt-001-rank-00000.log", "old\none\nt")
    found = []

    def until(line):
        deadline = time.monotonic() + HANG_S
        while line not in found:
            assert time.monotonic() < deadline, found
            time.sleep(0.005)

    collected = log_lines(run.run, LogSelection(rank=0, follow=True, tail=2))
    follower = threading.Thread(target=lambda: [found.append(line) for line in collected])
    follower.start()
    until("one")
    with (run.run.logs / "attempt-001-rank-00000.log").open("a") as file:
        file.write("wo\n")
    until("two")
    run.attempt(1, ended=("failed", "crash", "it broke"), restart=True)
    run.attempt(2)
    run.log("attempt-002-rank-00000.log", "three\n")
    until("three")
    with (run.run.logs / "attempt-002-rank-00000.log").open("a") as file:
        file.write("the end")
    run.attempt(2, ended=("failed", "crash", "it broke"))
    follower.join(20)
    assert not follower.is_alive()
    assert found == ["one", "two", "== attempt 2 ==", "three", "the end"]


def test_following_one_attempt_ends_with_it(run):
    """RD-222"""
    run.attempt(2)
    assert lines(run, attempt=1, rank=1, follow=True)[-1].endswith("d")


def test_a_terminal_is_not_steered_a_pipe_gets_all(run, capsys, monkeypatch):
    """RD-210, RD-224"""
    line = "10%\r20%\r\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b5m\u202e end"
    run.log("attempt-002-rank-00001.log", line + "\r\n")
    assert main(["logs", str(run.run.path), "--rank", "1"]) == 0
    assert capsys.readouterr().out == line + "\r\n"

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    assert for_stdout(line + "\r") == "red5m end"
