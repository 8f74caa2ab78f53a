"""What heartbeats tell: the predicted end of the training, stragglers; and why a job waits."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.slurm.pending_reasons import why_it_waits
from launcher.status.eta import training_ends_at
from launcher.status.stragglers import stragglers
from ptycho_dist.rundir.heartbeat import Heartbeat


def beats(own, batch_s=1.0, ages=None, state="training"):
    return [
        Heartbeat(
            rank=rank, node="n", pid=1, attempt=1, state=state,
            progress={"own_s": seconds, "batch_s": batch_s},
            updated_at=1e9 - (ages or {}).get(rank, 0),
        )
        for rank, seconds in enumerate(own)
    ]  # fmt: skip


progress = st.fixed_dictionaries(
    {
        "step": st.integers(0, 10**6),
        "total_steps": st.integers(0, 10**6),
        "began_at": st.floats(0, 1e9),
        "began_step": st.integers(0, 10**6),
    },
    optional={"epoch_at": st.floats(0, 1e9), "epoch_step": st.integers(0, 10**6)},
)


@given(progress, st.floats(0, 1e9))
def test_the_predicted_end_is_never_before_now_and_needs_a_step(said, at):
    """RD-205"""
    ends_at = training_ends_at(said, at)
    if ends_at is None:
        return
    assert said["step"] > said["began_step"]
    assert ends_at >= at
    if said["step"] >= said["total_steps"]:
        assert ends_at == at


@given(
    st.integers(1, 50), st.integers(1, 20), st.floats(0.01, 100), st.floats(0, 100),
    st.integers(0, 10**4), st.integers(0, 10**4),
)  # fmt: skip
def test_validation_counts_once_an_epoch_of_this_attempt_is_done(
    steps, epochs, step_s, validation_s, before, ahead
):
    """RD-205: each epoch of this attempt takes steps and a validation, and so will the rest."""
    began_at, done = 1e6, epochs * steps
    now = began_at + epochs * (steps * step_s + validation_s)
    said = {
        "began_at": began_at, "began_step": before * steps, "epoch_at": now,
        "epoch_step": before * steps + done, "step": before * steps + done,
        "total_steps": before * steps + done + ahead * steps,
    }  # fmt: skip
    expected = now + ahead * (steps * step_s + validation_s)
    assert training_ends_at(said, now) == pytest.approx(expected, rel=1e-6)


@given(
    st.dictionaries(
        st.sampled_from(["step", "total_steps", "began_at", "began_step", "epoch_at", "own_s"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.none()),
    )
)
def test_nonsense_in_a_heartbeat_predicts_nothing_and_breaks_nothing(said):
    """RD-210"""
    ends_at = training_ends_at(said, 1e9)
    assert ends_at is None or 1e9 <= ends_at < 1e11
    assert set(stragglers([*beats([1.0, 1.0]), Heartbeat(
        rank=9, node="n", pid=1, attempt=1, state="training", progress=said, updated_at=1e9
    )])) <= {0, 1, 9}  # fmt: skip


@given(st.lists(st.floats(0.001, 1000), min_size=2, max_size=9), st.floats(0.001, 1000))
def test_a_rank_is_slow_exactly_if_the_rule_says_so(own, batch_s):
    """RD-206"""
    expected = set()
    for rank, seconds in enumerate(own):
        others = statistics.median(own[:rank] + own[rank + 1 :])
        if seconds > 1.5 * others and seconds - others >= batch_s / 10:
            expected.add(rank)
    assert set(stragglers(beats(own, batch_s))) == expected


def test_a_rank_is_silent_if_the_others_have_reported_since():
    """RD-206: none is named if all are silent, as in a long step, or if it has ended."""
    assert list(stragglers(beats([1, 1, 1], ages={1: 91}))) == [1]
    assert stragglers(beats([1, 1, 1], ages={0: 200, 1: 200, 2: 200})) == {}
    assert stragglers(beats([1, 1, 1], ages={1: 89})) == {}
    assert stragglers(beats([9, 1, 1], state="stopped")) == {}
    assert stragglers(beats([9])) == {}


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        ("Priority", "other jobs are ahead of it", "resources.time"),
        ("Resources", "waits for free nodes", "resources.time"),
        ("BeginTime", "a pause before a restart", ""),
        ("JobHeldUser", "its owner holds it", "scontrol release"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "down, drained or reserved", "resources.time"),
        ("ReqNodeNotAvail(Unavailable:n1)", "down, drained or reserved", "resources.time"),
        ("PartitionTimeLimit", "more walltime than its partition", "resources.time"),
        ("QOSMaxJobsPerUserLimit", "the limit of jobs per user is reached", "resources.qos"),
        ("QOSMaxCpuPerUserLimit", "more CPUs than its QOS", "resources.cpus_per_task"),
        ("QOSMaxWallDurationPerJobLimit", "more walltime than its QOS", "resources.time"),
        ("QOSMaxGRESPerUser", "more GPUs than its QOS", "resources.gpus_per_node"),
        ("QOSMinCpuNotSatisfied", "fewer CPUs than its QOS", "resources.cpus_per_task"),
        (
            "AssocGrpCPUMinutesLimit",
            "reached the limit of CPUs in minutes of use",
            "account",
        ),
        ("AssocMaxJobsLimit", "the limit of jobs per account is reached", "account"),
        ("AssocGrpBillingRunMinutes", "exceed a limit of its account", "account"),
        ("SomethingQuiteNew", "", ""),
        ("", "", ""),
    ],
)
def test_reasons_in_plain_words(code, words, advice):
    """RD-203"""
    wait = why_it_waits(code)
    assert wait.code == code
    assert words in wait.words
    assert advice in wait.advice
    assert code in wait.sentence
    assert bool(wait.words) == bool(words)


@given(st.text())
def test_any_answer_of_squeue_is_a_reason(text):
    """RD-203, RD-210"""
    wait = why_it_waits(text)
    assert "\x1b" not in wait.sentence
    assert "\n" not in wait.sentence
