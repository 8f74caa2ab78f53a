"""Legacy values in real ranks and DataLoader workers: the same, or the job ends and says why."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fork_client
import pytest
from waiting import HANG_S

RANK = Path(__file__).parent / "legacy_rank_program.py"
LOADER = Path(__file__).parent / "legacy_loader_program.py"


@pytest.fixture
def run_ranks(tmp_path):
    """Exit code, output and errors of each rank, and the seconds until the last has ended."""

    def run(case, ranks, processes):
        began = time.monotonic()
        started = [
            fork_client.Popen(
                [sys.executable, str(RANK), str(tmp_path / "store"), case],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks)},
            )
            for rank in range(processes)
        ]
        try:
            said = [process.communicate(timeout=HANG_S) for process in started]
        finally:
            for process in started:
                process.kill()
        results = [(p.returncode, *texts) for p, texts in zip(started, said, strict=True)]
        return results, time.monotonic() - began

    return run


def test_ranks_that_agree_run_to_the_end(run_ranks):
    """LI-050"""
    results, _ = run_ranks("same", 2, 2)
    for code, out, errors in results:
        assert code == 0, errors
        assert out.splitlines() == [f"epoch {epoch} N 64" for epoch in range(4)]


@pytest.mark.parametrize(
    ("case", "ranks", "words", "epochs"),
    [
        (
            "config",
            3,
            "the legacy values of the ranks differ at the start: "
            "batch_size: rank 2 has 32, ranks 0, 1 have 8",
            0,
        ),
        (
            "epoch",
            2,
            "the legacy values of the ranks differ before epoch 2: "
            "N: rank 0 has 64, rank 1 has 128; nepochs: rank 0 has 50, rank 1 has nothing",
            2,
        ),
        (
            "fault",
            2,
            "the legacy values are not those of the run at the start: rank 1: no LegacyScope of "
            "ptycho_dist.legacy.params.cfg is open in this process",
            0,
        ),
        (
            "mode",
            2,
            "the legacy values of the ranks differ at the start: (scope): rank 0 has sealed "
            "ptycho_dist.legacy.params.cfg, rank 1 has watched foreign_params.cfg; "
            "nphotons: rank 0 has 1000000000.0, rank 1 has nothing; "
            "probe_scale: rank 0 has 10.0, rank 1 has nothing",
            0,
        ),
    ],
)
def test_a_rank_that_differs_is_named_by_all_and_the_job_ends(
    case, ranks, words, epochs, run_ranks
):
    """LI-050, LI-051, LI-053"""
    results, seconds = run_ranks(case, ranks, ranks)
    for code, out, errors in results:
        assert code == 1
        assert f"error: {words}\n" in errors
        assert "Traceback" not in errors
        assert len(out.splitlines()) == epochs
    assert seconds < 60


def test_spawned_ranks_have_the_values_of_their_parent(run_ranks):
    """LI-041"""
    (((code, out, errors),), _) = run_ranks("spawn", 2, 1)
    assert code == 0, errors
    assert sorted(out.splitlines()) == ["rank 0 N 64", "rank 1 N 64"]


def test_a_spawned_rank_that_differs_is_named(run_ranks):
    """LI-053, LI-041"""
    (((code, out, errors),), seconds) = run_ranks("spawn-epoch", 2, 1)
    assert code != 0
    assert "differ in spawned ranks: N: rank 0 has 64, rank 1 has 128" in errors
    assert out == ""
    assert seconds < 60


def run_loader(method, case):
    done = fork_client.run(
        [sys.executable, str(LOADER), method, case], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_have_the_sealed_values_of_the_rank(method):
    """LI-040, LI-074"""
    answer = run_loader(method, "sealed")
    assert {sample["worker"] for sample in answer["seen"]} == {0, 1}
    for sample in answer["seen"]:
        assert sample["N"] == 64
        assert sample["digest"] == answer["digest"]
        assert sample["intensity_scale"] == 2.5
        assert "legacy_loader_program.py:" in sample["refused"]


def test_spawned_workers_have_the_foreign_values_of_the_rank():
    """LI-040, LI-074: also what a fresh process does not have: what was in the dict before."""
    answer = run_loader("spawn", "watched")
    for sample in answer["seen"]:
        assert (sample["N"], sample["label"]) == (64, "changed before")
        assert sample["digest"] == answer["digest"]
        assert sample["intensity_scale"] == 2.5


def test_a_worker_with_another_value_ends_with_its_number_and_the_key():
    """LI-040"""
    error = run_loader("fork", "tampered")["error"]
    assert "DataLoader worker 1: ptycho_dist.legacy.params.cfg was changed" in error
    assert "N: 32 in place of 64" in error


def test_workers_that_are_started_outside_of_the_scope_are_refused():
    """LI-040"""
    assert "DataLoader worker 0: no LegacyScope" in run_loader("fork", "closed")["error"]
