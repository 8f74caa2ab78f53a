"""A rank that cannot join is named with its reason; nobody hangs (G7, RD-030 to RD-035)."""

import dataclasses
import json
import time

import pytest

from ptycho_dist.config.plain_data import config_digest, decode_run_config
from ptycho_dist.rundir.heartbeat import read_heartbeats

TWO = "resources: {tasks_per_node: 2}"
THREE = "resources: {tasks_per_node: 3}"


@pytest.fixture
def without_patience(make_run):
    """A run in which a rank that never comes is waited for only that long."""

    def make(text):
        run = make_run(text)
        record = json.loads(run.run_json.read_text())
        record["config"]["execution"]["join_timeout_s"] = 12
        record["config_sha256"] = config_digest(decode_run_config(record["config"], "test"))
        run.run_json.write_text(json.dumps(record))
        return run

    return make


def errors_of(results):
    return [line for _, text in results for line in text.splitlines() if line.startswith("error:")]


@pytest.mark.effect("execution.join_timeout_s")
def test_a_rank_that_never_starts_is_named_by_all_others(without_patience, start_ranks):
    ranks = start_ranks(without_patience(THREE))
    ranks.start(0)
    ranks.start(2)
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 1]
    expected = "error: rank 1 on here did not join within 12 s: it never started"
    assert all(line.startswith(expected) for line in errors_of(results))
    assert len(errors_of(results)) == 2
    assert read_heartbeats(ranks.run)[0].state == "failed"


def test_a_rank_that_cannot_resolve_rank_zero_says_so_and_is_named(make_run, start_ranks):
    ranks = start_ranks(make_run(TWO))
    ranks.start(0)
    ranks.start(1, dataclasses.replace(ranks.attempt, host="no-such-node.invalid"))
    began = time.monotonic()
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 2]
    first, second = errors_of(results)
    assert "cannot resolve 'no-such-node.invalid'" in second
    assert first.startswith("error: rank 1: on")
    assert "cannot resolve 'no-such-node.invalid'" in first
    assert time.monotonic() - began < 60  # the bound of G7 itself


def test_rank_zero_that_never_starts_is_named(without_patience, start_ranks):
    ranks = start_ranks(without_patience(TWO))
    ranks.start(1)
    ((code, text),) = ranks.finish()
    assert code == 1
    assert f"rank 0 did not open its store at 127.0.0.1:{ranks.attempt.port} within 12 s" in text


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "3"}, "started 3 ranks, the plan has 2"),
        ({"LOCAL_RANK": "5"}, "is task 5 of its node"),
        ({"RANK": "x"}, "missing or not a number"),
        ({"PTYCHO_DIST_ATTEMPT": "nonsense"}, "is not an attempt"),
    ],
)
def test_an_environment_that_contradicts_the_plan(make_run, start_ranks, environment, words):
    ranks = start_ranks(make_run(TWO))
    ranks.start(1, **environment)
    ((code, text),) = ranks.finish()
    assert code == 2
    assert words in text
    assert "Traceback" not in text


def test_ranks_of_different_attempts_do_not_mix(make_run, start_ranks):
    ranks = start_ranks(make_run(TWO))
    ranks.start(0)
    ranks.start(1, dataclasses.replace(ranks.attempt, token="0123456789abcdef"))
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 1]
    assert all("the ranks differ: attempt: rank 0 on" in line for line in errors_of(results))


def test_a_port_that_is_taken_is_named(make_run, start_ranks):
    import socket

    ranks = start_ranks(make_run(TWO))
    with socket.socket() as occupant:
        occupant.bind(("", ranks.attempt.port))
        occupant.listen()
        ranks.start(0)
        ((code, text),) = ranks.finish()
    assert code == 2
    assert f"cannot open its store at 127.0.0.1:{ranks.attempt.port}" in text
