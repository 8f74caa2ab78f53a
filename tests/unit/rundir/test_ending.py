"""How an attempt ended, and why (RD-022, RS-031, RS-032)."""

import secrets
import signal
import time

import pytest
from attempt_files import attempt_files

from ptycho_dist.attempts.attempt import (
    begin_attempt,
    end_attempt,
    take_back_restart,
)
from ptycho_dist.rundir.heartbeat import Heartbeat, write_heartbeat
from ptycho_dist.rundir.ledger import LedgerWriter, rank_writer

WALLTIME = 2_000_000_000.0  # long after any test
USR2 = ("stop_requested", {"signal": "SIGUSR2"})
STOPPED = ("stopped", {"step": 7})


@pytest.fixture
def ended(make_run):
    """`ended(exit_code, {rank: events}, …)`: the `ending` of an attempt with that ledger."""

    def end(exit_code, said=(), ends_at=WALLTIME, lead_s=60, **how):
        run = make_run(f"a-20260101-000000-{secrets.token_hex(4)}")
        attempt = begin_attempt(
            run, job_id="7", cluster="slurm", nodes=["n1", "n2"], ends_at=ends_at,
            signal_lead_s=lead_s,
        )  # fmt: skip
        for rank, events in dict(said).items():
            with LedgerWriter(run, attempt.number, rank_writer(rank)) as ledger:
                ledger.append("joined", rank=rank, node=f"n{rank + 1}")
                for event, fields in events:
                    ledger.append(event, **fields)
        if how.pop("cancelled", False):
            with LedgerWriter(run, attempt.number, "launcher") as ledger:
                ledger.append("cancel_requested", job_id="7")
        end_attempt(run, attempt.number, exit_code, **how)
        return attempt_files(run)[0]["ending"]

    return end


def causes(ending):
    return ending["outcome"], ending["cause"]


def test_a_stop_long_before_the_walltime_is_a_preemption_and_near_it_a_timeout(ended):
    both = {0: [USR2, STOPPED], 1: [STOPPED]}
    assert causes(ended(75, both)) == ("stopped", "preempt")
    assert causes(ended(75, both, ends_at=None)) == ("stopped", "preempt")
    soon = time.time() + 30
    assert causes(ended(75, both, ends_at=soon)) == ("stopped", "timeout")
    clock = {0: [("stop_requested", {"signal": "walltime"}), STOPPED], 1: [STOPPED]}
    ending = ended(75, clock)
    assert causes(ending) == ("stopped", "timeout")
    assert (ending["committed_step"], ending["reason"]) == (7, "asked to stop by walltime")


def test_what_a_person_ended_is_cancelled(ended):
    """RS-032"""
    both = {0: [USR2, STOPPED], 1: [STOPPED]}
    assert ended(75, both, cancelled=True)["cause"] == "cancelled"
    assert ended(143, on_request=True)["cause"] == "cancelled"
    refused = ended(2, {0: [("failed", {"reason": "UserError: every checkpoint is damaged"})]})
    assert refused["cause"] == "mistake"
    assert "every checkpoint is damaged" in refused["reason"]


def test_ranks_that_had_to_leave_end_with_the_last_commit(ended):
    """RS-013"""
    left = ("left", {"why": "second signal", "signal": "SIGUSR2", "step": 9})
    ending = ended(75, {0: [("checkpoint_committed", {"step": 5}), left]})
    assert causes(ending) == ("cut_short", "preempt")
    assert (ending["step"], ending["committed_step"]) == (9, 5)


def test_one_rank_that_says_stopped_proves_the_checkpoint_of_all(ended):
    """srun kills the other ranks before they can record it."""
    assert causes(ended(75, {0: [USR2, STOPPED], 1: []})) == ("failed", "preempt")


@pytest.mark.parametrize("code", [128 + signal.SIGTERM, 128 + signal.SIGUSR2])
def test_a_signal_before_the_handlers_are_there_is_a_preemption(ended, code):
    assert ended(code)["cause"] == "preempt"
    assert ended(code, {0: [("failed", {"reason": "x"})]})["cause"] == "crash"


def test_the_rank_that_died_without_a_word_is_the_first_to_fail(ended):
    failed = ("failed", {"reason": "RuntimeError: Connection closed by peer", "step": 4})
    ending = ended(137, {0: [failed], 1: []})
    assert causes(ending) == ("failed", "crash")
    assert ending["reason"] == "rank 1 on n2 died without a word"
    assert (ending["node"], ending["step"]) == ("n2", 4)
    alone = ended(1, {0: [failed], 1: [failed]})
    assert (alone["reason"], alone["node"]) == ("RuntimeError: Connection closed by peer", "n1")
    assert ended(1)["reason"] == "exit code 1"


def test_lost_nodes_and_silent_ranks_are_node_failures(ended):
    """RS-012, RS-031"""
    lost = ended(None, lost_nodes=["n2"])
    assert (lost["cause"], lost["reason"], lost["node"]) == ("node_fail", "node lost: n2", "n2")
    both = {0: [("stop_requested", {"signal": "SIGTERM"}), STOPPED], 1: [STOPPED]}
    assert causes(ended(75, both, lost_nodes=["n2"])) == ("stopped", "node_fail")
    reason = "no progress for 60 s: rank 1 on n2 shows no sign of life"
    stalled = ("stalled", {"reason": reason, "silent_nodes": ["n2"], "step": 3})
    silent = ended(1, {0: [stalled], 1: []})
    assert (silent["cause"], silent["reason"], silent["node"]) == ("node_fail", reason, "n2")
    behind = ("stalled", {"reason": "rank 1 is behind", "silent_nodes": [], "step": 3})
    assert ended(1, {0: [behind]})["cause"] == "crash"


def test_an_attempt_whose_script_was_killed(ended):
    """RS-031, RS-037"""
    assert ended(None)["cause"] == "preempt"
    assert ended(None, ends_at=1.0)["cause"] == "timeout"


def test_the_decision_is_recorded_and_so_is_a_refusal_of_slurm(make_run):
    """RS-038"""
    run = make_run()
    attempt = begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1"])
    decision = end_attempt(run, attempt.number, None).decision
    assert decision.restart
    assert attempt_files(run)[0]["next"]["restart"] is True
    take_back_restart(run, attempt.number, "scontrol requeue: disabled")
    following = attempt_files(run)[0]["next"]
    assert (following["restart"], following["why"]) == (False, "scontrol requeue: disabled")
    by_hand = begin_attempt(run, job_id="8", cluster="local", nodes=["n1"])
    decision = end_attempt(run, by_hand.number, None, by_itself=False).decision
    assert (decision.restart, decision.why) == (
        False,
        "it was started by hand, so nothing starts it again",
    )


def test_a_rank_that_could_not_join_is_no_preemption(make_run):
    """RS-031: the rank has no ledger yet, and srun only reports that it killed the others."""
    run = make_run()
    attempt = begin_attempt(run, job_id="7", cluster="slurm", nodes=["n1", "n2"])
    reason = "rank 1 on n2 did not join within 15 s: it never started"
    write_heartbeat(
        run,
        Heartbeat(rank=0, node="n1", pid=1, attempt=1, state="failed", reason=reason),
    )
    end_attempt(run, attempt.number, 128 + signal.SIGTERM)
    ending = attempt_files(run)[0]["ending"]
    assert (ending["cause"], ending["reason"]) == ("crash", reason)
