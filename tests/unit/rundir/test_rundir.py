"""The run directory: whole or not there, readable, one writer per file (specs/run_directory.md)."""

import json
import os
import socket
import stat
import threading

import pytest
from attempt_files import attempt_files

from launcher.commands.which_run import named
from ptycho_dist.attempts.__main__ import main as rundir_main
from ptycho_dist.attempts.attempt import (
    PORTS,
    Attempt,
    begin_attempt,
    end_attempt,
    free_port,
    holds_the_run,
)
from ptycho_dist.attempts.processes import LocalProcess, start_time
from ptycho_dist.config.plain_data import json_digest
from ptycho_dist.errors import EXIT_STOPPED, UserError
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.heartbeat import Heartbeat, read_heartbeats, write_heartbeat
from ptycho_dist.rundir.ledger import LedgerWriter, read_ledger
from ptycho_dist.rundir.listing import list_runs


def begin(run, **kwargs):
    return begin_attempt(run, **{"job_id": "1", "cluster": "local", "nodes": ["n"], **kwargs})


def test_it_is_private_and_read_back_equal(make_run):
    """RD-001"""
    run = make_run()
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    assert run.config().name == "tiny"
    assert run.world().ranks == 2
    assert not list(run.path.parent.glob(".*"))


def test_a_failure_leaves_nothing_behind(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("ptycho_dist.rundir.making.json_bytes", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_run()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_place_that_is_taken_or_cannot_be_written(make_run, tmp_path):
    make_run()
    with pytest.raises(UserError, match="not empty"):
        make_run()
    (tmp_path / "runs2").write_text("a file")
    with pytest.raises(UserError, match="cannot be made"):
        make_run(name="../runs2/x")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["config"]["training"].update(seed=5),
        lambda record: record.update(format=99),
        lambda record: record["config"].update(bogus=1),
        lambda record: record.pop("config"),
    ],
)
def test_a_run_json_changed_by_hand_is_refused(make_run, change):
    """RD-003"""
    run = make_run()
    record = read_json(run.run_json)
    change(record)
    write_json_atomic(run.run_json, record)
    with pytest.raises(UserError, match=r"run\.json"):
        run.config()


def test_runs_are_found_by_id_beginning_and_path(make_run, tmp_path):
    one, two = make_run("a-1"), make_run("b-2")
    root = tmp_path / "runs"
    assert [run.run_id for run in list_runs(root)] == ["a-1", "b-2"]
    assert named(root, "a") == named(root, str(one.path)) == one
    assert named(root, "b-2") == two
    make_run("a-3")
    with pytest.raises(UserError, match="2 runs begin so"):
        named(root, "a")
    with pytest.raises(UserError, match="no such run"):
        named(root, "zzz")
    assert list_runs(tmp_path / "nowhere") == []


def test_attempts_are_numbered_and_the_last_one_holds_the_run(make_run):
    """RD-020, RD-021"""
    run = make_run()
    first, second = begin(run), begin(run, job_id="2")
    assert (first.number, second.number) == (1, 2)
    assert not holds_the_run(run, first)
    assert holds_the_run(run, second)
    assert [record["cause"] for record in attempt_files(run)] == ["submit", "resume"]
    assert first.port in PORTS
    assert Attempt.from_variable(first.to_variable()) == first
    assert " " not in first.to_variable()


def test_the_thousandth_attempt_comes_after_the_one_before_it(make_run):
    run = make_run()
    first = begin(run)
    (run.attempts / "001.json").rename(run.attempts / "999.json")
    later = begin(run)
    assert later.number == 1000
    assert holds_the_run(run, later)
    assert not holds_the_run(run, first)
    assert [record["number"] for record in attempt_files(run)] == [1, 1000]


def test_a_port_on_which_something_listens_is_not_given_out(monkeypatch):
    """RD-031"""
    with socket.socket() as occupant:
        occupant.bind(("", 0))
        occupant.listen()
        taken = occupant.getsockname()[1]
        monkeypatch.setattr("ptycho_dist.attempts.attempt.PORTS", range(taken, taken + 60))
        assert all(free_port() != taken for _ in range(20))


def test_simultaneous_starts_get_different_numbers(make_run):
    run = make_run()
    found = []
    threads = [threading.Thread(target=lambda: found.append(begin(run).number)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))
    assert len(attempt_files(run)) == 8


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"number": "x"}'])
def test_an_attempt_variable_that_is_none(text):
    with pytest.raises(UserError, match="not an attempt"):
        Attempt.from_variable(text)


def stop_ranks(run, attempt, ranks):
    for rank in ranks:
        with LedgerWriter(run, attempt.number, f"rank-{rank:05d}") as ledger:
            ledger.append("stopped", step=5)


@pytest.mark.parametrize(
    ("exit_code", "stopped", "finished", "outcome", "job_code"),
    [
        (0, [], True, "finished", 0),
        (0, [], False, "failed", 1),  # G10: 0 only when it has finished
        (75, [0, 1], False, "stopped", EXIT_STOPPED),
        (143, [0, 1], False, "stopped", EXIT_STOPPED),  # srun killed a rank that had stopped
        (75, [0], False, "failed", 75),
        (1, [], False, "failed", 1),
        (137, [], True, "finished", 0),  # a rank died after the last epoch was committed
    ],
)
def test_how_an_attempt_ended(make_run, exit_code, stopped, finished, outcome, job_code):
    """RD-022"""
    run = make_run()
    attempt = begin(run)
    stop_ranks(run, attempt, stopped)
    if finished:
        write_json_atomic(run.result_json, {})
    assert end_attempt(run, attempt.number, exit_code).exit_code == job_code
    (record,) = attempt_files(run)
    assert (record["outcome"], record["exit_code"]) == (outcome, exit_code)
    assert record["ended_at"] >= record["started_at"]


def test_the_command_of_the_batch_script(make_run, capsys):
    run = make_run()
    assert rundir_main(["begin", str(run.path)]) == 0
    number, variable = capsys.readouterr().out.split()
    assert number == "001"
    assert Attempt.from_variable(variable).number == 1
    assert rundir_main(["end", str(run.path), number, "1"]) == 1
    assert capsys.readouterr().out == "attempt 1: requeue.on does not name crash\n"
    write_json_atomic(run.result_json, {})
    assert rundir_main(["begin", str(run.path)]) == 0
    assert capsys.readouterr().out == ""  # finished: the script leaves with 0
    assert rundir_main(["bogus"]) == 2


def test_the_ledger_merges_writers_and_leaves_out_a_torn_line(make_run):
    run = make_run()
    with LedgerWriter(run, 1, "rank-00000") as a, LedgerWriter(run, 1, "rank-00001") as b:
        a.append("one")
        b.append("two", ranges=[[0, 4]])
        a.append("three")
    with (run.ledger / "001-rank-00001.jsonl").open("a") as file:
        file.write('{"event": "torn"')
    events = read_ledger(run)
    assert [event["event"] for event in events] == ["one", "two", "three"]
    assert read_ledger(run, attempt=2) == []
    assert stat.S_IMODE((run.ledger / "001-rank-00000.jsonl").stat().st_mode) == 0o600


def test_heartbeats_are_replaced_whole_and_damage_is_left_out(make_run):
    run = make_run()
    for state in ("starting", "training"):
        write_heartbeat(run, Heartbeat(rank=1, node="n", pid=1, attempt=1, state=state))
    (run.heartbeats / "rank-00002.json").write_text("{")
    (run.heartbeats / "rank-00003.json").write_text('{"rank": 3}')
    assert {rank: h.state for rank, h in read_heartbeats(run).items()} == {1: "training"}
    assert len(list(run.heartbeats.iterdir())) == 3


def test_a_heartbeat_that_cannot_be_written_stops_nothing(make_run, monkeypatch):
    run = make_run()
    run.heartbeats.rmdir()
    write_heartbeat(run, Heartbeat(rank=0, node="n", pid=1, attempt=1, state="training"))


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    """RD-002"""
    path = tmp_path / "x.json"
    write_json_atomic(path, {"old": 1})
    monkeypatch.setattr(os, "fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_json_atomic(path, {"new": 1})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_processes_are_known_by_machine_number_and_start_time():
    """RD-025"""
    assert start_time(2**22 + 1) is None
    own = LocalProcess.of(os.getpid())
    assert LocalProcess.parse(str(own)) == own
    assert own.here
    assert own.alive
    assert not LocalProcess(own.machine, own.pid, own.started + 1).alive  # the number was reused
    assert not LocalProcess("elsewhere", own.pid, own.started).here
    for text in ("", "17", "a:b:c"):
        with pytest.raises(UserError, match="not the process"):
            LocalProcess.parse(text)


def test_a_run_of_an_earlier_version_opens_although_fields_came_later(make_run):
    """The digest is of what is stored; a field that it lacks has its default."""
    run = make_run()
    record = json.loads(run.run_json.read_text())
    del record["config"]["reconstruct"]
    record["config_sha256"] = json_digest(record["config"])
    run.run_json.write_text(json.dumps(record))
    assert run.config().reconstruct
    record["config"]["name"] = "other"
    run.run_json.write_text(json.dumps(record))
    with pytest.raises(UserError, match="changed after the run was made"):
        run.config()
