"""Whether a run starts again by itself (RS-030 to RS-036)."""

import secrets
from dataclasses import replace

import pytest
from attempt_files import attempt_files
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.attempts.__main__ import main as rundir_main
from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.attempts.record import AttemptEnd, AttemptRecord, Ending
from ptycho_dist.attempts.restart import LONGEST_BACKOFF_S, bad_nodes, decide
from ptycho_dist.config.resources import RequeueConfig

ALL = ("preempt", "timeout", "node_fail", "crash")
EVER = RequeueConfig(on=ALL, max_restarts=100, backoff_s=30)


def attempt(cause, *, began="requeue", step=10, committed=None, reason="it broke", node=None):
    """The record of an attempt with this end."""
    committed = step if committed is None else committed
    ending = Ending("failed", cause, reason, step, committed, node)
    return AttemptRecord(
        number=1, token="t", host="h", port=1, ends_at=None, job_id="7", cluster="slurm",
        nodes=("n1",), step=None, signal_lead_s=60, cause=began, started_at=1.0,
        end=AttemptEnd(2.0, 1, ending, None),
    )  # fmt: skip


def history(*attempts):
    return [replace(attempts[0], cause="submit"), *attempts[1:]]


@pytest.mark.parametrize("cause", ALL)
def test_a_cause_that_is_named_starts_again_and_another_does_not(cause):
    policy = RequeueConfig(on=(cause,))
    for other in ALL:
        decision = decide(policy, history(attempt(other)))
        assert decision.restart == (other == cause)
        if other != cause:
            assert decision.why == f"requeue.on does not name {other}"


@pytest.mark.parametrize("cause", ["finished", "cancelled", "mistake"])
def test_what_a_person_has_ended_or_must_fix_does_not_start_again(cause):
    """RS-032"""
    assert not decide(EVER, history(attempt(cause))).restart


@given(restarts=st.integers(0, 8), most=st.integers(0, 8), earlier=st.integers(0, 3))
def test_restarts_are_counted_since_a_person(restarts, most, earlier):
    """RS-033"""
    policy = RequeueConfig(on=ALL, max_restarts=most)
    before = [attempt("preempt", began="submit"), *[attempt("preempt")] * earlier]
    row = [attempt("preempt", began="resume"), *[attempt("preempt")] * restarts]
    decision = decide(policy, [*before, *row])
    assert decision.restart == (restarts < most)
    if decision.restart:
        assert decision.why.startswith(f"restart {restarts + 1} of {most} after preempt")


@pytest.mark.parametrize(
    ("step", "reason", "loops"),
    [
        (10, "rank 3 on node2: Connection to 10.0.0.7:29511 lost", True),
        (11, "rank 3 on node2: Connection to 10.0.0.7:29511 lost", False),
        (10, "out of memory", False),
    ],
)
def test_a_crash_loop_is_the_same_error_at_the_same_step(step, reason, loops):
    """RS-034: ports and addresses in it differ from attempt to attempt."""
    first = attempt("crash", reason="rank 3 on node2: Connection to 10.0.0.9:15000 lost")
    decision = decide(EVER, history(first, attempt("crash", step=step, reason=reason)))
    assert decision.restart != loops
    if loops:
        assert decision.why == f"a crash loop: twice in a row at step 10: {reason}"
    between = history(first, attempt("preempt"), attempt("crash", step=step, reason=reason))
    assert decide(EVER, between).restart  # not in a row


def test_a_preemption_at_the_same_step_is_no_loop():
    assert decide(EVER, history(*[attempt("preempt")] * 5)).restart


def test_walltimes_without_a_new_checkpoint_end_the_run():
    """RS-035"""
    stuck = history(attempt("timeout", step=0), attempt("timeout", step=7, committed=0))
    assert decide(EVER, stuck).why.startswith("two walltimes in a row brought no new checkpoint")
    assert decide(EVER, history(attempt("timeout", step=0), attempt("timeout", step=7))).restart


@given(failures=st.integers(1, 60), backoff=st.integers(0, 2000))
def test_the_wait_doubles_with_each_failure_in_a_row(failures, backoff):
    """RS-036"""
    policy = RequeueConfig(on=ALL, max_restarts=100, backoff_s=backoff)
    failed = [attempt("node_fail", step=step) for step in range(failures)]
    decision = decide(policy, history(attempt("preempt"), *failed))
    expected = min(backoff * 2 ** (failures - 1), max(LONGEST_BACKOFF_S, backoff))
    assert decision.delay_s == expected
    assert decide(policy, history(*failed, attempt("preempt"))).delay_s == 0


def test_nodes_that_were_lost_or_crashed_twice_are_excluded():
    """RS-036"""
    records = history(
        attempt("crash", node="n1", step=1),
        attempt("crash", node="n2", step=2),
        attempt("node_fail", node="n3", step=3),
        attempt("preempt", node="n4"),
        attempt("crash", node="n2", step=5),
    )
    assert bad_nodes(records) == ("n2", "n3")
    assert decide(EVER, records).exclude == ("n2", "n3")


@pytest.fixture
def started_again(make_run, monkeypatch, capsys):
    """`started_again(policy)`: SLURM restarts a job whose script was killed; code and words."""

    def start(policy, **record):
        text = f"resources: {{tasks_per_node: 2}}\nrequeue: {policy}"
        run = start.run = make_run(f"a-20260101-000000-{secrets.token_hex(4)}", text)
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
        begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1"], **record)
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        code = rundir_main(["begin", str(run.path)])
        return code, capsys.readouterr(), attempt_files(run)

    return start


def test_a_start_by_slurm_records_the_end_of_what_was_killed(started_again):
    """RS-037"""
    code, said, (first, second) = started_again("{on: [preempt]}")
    assert code == 0
    assert said.out.startswith("002 ")
    assert first["ending"]["cause"] == "preempt"
    assert (first["exit_code"], first["next"]["restart"]) == (None, True)
    assert second["cause"] == "requeue"


def test_a_start_by_slurm_that_the_policy_does_not_want_is_refused(started_again):
    """RS-037"""
    code, said, (first,) = started_again("{on: [crash]}")
    assert code == 1
    assert "does not start again: requeue.on does not name preempt" in said.err
    assert first["next"]["restart"] is False
    code, said, _ = started_again("{on: [preempt], max_restarts: 0}")
    assert code == 1
    assert "max_restarts" in said.err


def test_a_script_on_a_lost_node_does_not_end_an_attempt_twice(started_again, capsys):
    """RS-037, RD-041: it neither records an end nor puts the job back a second time."""
    started_again("{on: [preempt]}")
    run = started_again.run
    before = attempt_files(run)
    assert rundir_main(["end", str(run.path), "1", "0"]) == 1
    assert "was ended from elsewhere" in capsys.readouterr().out
    assert attempt_files(run) == before
