"""The record of an attempt, written and read by one module (RD-020, RD-022, RD-210)."""

import json

import pytest
from attempt_files import attempt_files
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.attempts.attempt import begin_attempt, end_attempt, take_back_restart
from ptycho_dist.attempts.record import (
    AttemptEnd,
    AttemptRecord,
    Decision,
    Ending,
    attempt_numbers,
    read_attempt,
    read_attempts,
    record_path,
    write_attempt,
)
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import files

MOMENTS = st.floats(0, 32_503_000_000)
COUNTS = st.integers(0, 10**9)
ENDINGS = st.builds(
    Ending, st.text(), st.text(), st.text(), st.none() | COUNTS, st.none() | COUNTS,
    st.none() | st.text(min_size=1),
)  # fmt: skip
DECISIONS = st.builds(Decision, st.booleans(), st.text(), COUNTS, st.tuples(st.text()))
ENDS = st.builds(
    AttemptEnd, MOMENTS, st.none() | st.integers(-300, 300), ENDINGS, st.none() | DECISIONS
)
RECORDS = st.builds(
    AttemptRecord, number=st.integers(1, 2000), token=st.text(), host=st.text(), port=COUNTS,
    ends_at=st.none() | MOMENTS, job_id=st.text(), cluster=st.text(),
    nodes=st.lists(st.text(), max_size=3).map(tuple), step=st.none() | st.text(min_size=1),
    signal_lead_s=st.none() | COUNTS, cause=st.text(), started_at=MOMENTS, end=st.none() | ENDS,
)  # fmt: skip


@pytest.fixture
def run(make_run):
    run = make_run()
    run.attempts.mkdir(exist_ok=True)
    return run


@given(RECORDS)
def test_what_is_written_is_read_again(run, record):
    write_attempt(run, record)
    assert read_attempt(run, record.number) == record


def test_the_file_of_an_attempt(run):
    """RD-020, RD-022: its names are those that older versions wrote."""
    begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1", "n2"], ends_at=9.0, step="1")
    begun = [
        *("number", "token", "host", "port", "ends_at", "job_id", "cluster", "nodes", "step"),
        *("signal_lead_s", "cause", "started_at", "ended_at", "exit_code", "outcome"),
    ]
    assert list(attempt_files(run)[0]) == begun
    end_attempt(run, 1, 1, lost_nodes=["n2"])
    take_back_restart(run, 1, "SLURM says no")
    (record,) = attempt_files(run)
    assert list(record) == [*begun, "ending", "next"]
    assert list(record["ending"]) == [
        *("outcome", "cause", "reason", "step", "committed_step", "node")
    ]
    assert record["ending"]["node"] == "n2"
    assert record["next"] == {
        "restart": False, "why": "SLURM says no", "delay_s": 0, "exclude": []
    }  # fmt: skip
    assert json.loads(json.dumps(read_attempts(run)[0].to_json())) == record


def test_an_old_record_stays_readable(run):
    old = {
        "number": 1, "job_id": "7", "cluster": "slurm", "nodes": ["n1"], "cause": "submit",
        "started_at": 5.0, "ended_at": 6.0, "exit_code": 75, "outcome": "stopped",
    }  # fmt: skip
    record_path(run, 1).write_text(json.dumps(old))
    end = read_attempt(run, 1).end
    assert (end.ending.outcome, end.ending.cause, end.ending.step) == ("stopped", "", None)
    assert (end.decision, end.restarts, end.why) == (None, False, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("number", 2), ("job_id", 7), ("cluster", None), ("nodes", ["n1", 3]), ("cause", [])),
        *(("started_at", "now"), ("ends_at", -1), ("ended_at", True), ("exit_code", "0")),
        *(("outcome", None), ("ending", 3), ("next", [1])),
    ],
)
def test_damage_names_file_and_field(run, field, value):
    begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1"])
    end_attempt(run, 1, 0)
    (record,) = attempt_files(run)
    record_path(run, 1).write_text(json.dumps(record | {field: value}))
    with pytest.raises(UserError, match=r"/attempts/001\.json: .*found.*; damaged") as error:
        read_attempt(run, 1)
    assert field in str(error.value)


def test_a_record_is_read_up_to_a_bound(run, monkeypatch):
    begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1"])
    monkeypatch.setattr(files, "MOST_BYTES", record_path(run, 1).stat().st_size)
    assert read_attempt(run, 1).job_id == "7"
    with record_path(run, 1).open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=r"001\.json: is larger than"):
        read_attempt(run, 1)


def test_other_files_are_no_attempts(run):
    begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1"])
    for name in ("001 copy.json", ".draft.tmp", "²³.json", "002.json.bak"):
        (run.attempts / name).write_text("{")
    assert attempt_numbers(run) == [1]
    assert begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1"]).number == 2
