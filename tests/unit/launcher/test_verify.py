"""`ptycho-launch verify`: the verdict is the last line and the exit code (RD-054)."""

import json

import pytest

from launcher.cli import main
from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.ledger import LedgerWriter, rank_writer
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan


@pytest.fixture
def run(make_config, tmp_path):
    loaded = read_run_config(make_config("resources: {tasks_per_node: 2}")).sound()
    plan = RunPlan(world=world_of(loaded.config, 37))
    return prepare_run(tmp_path / "runs" / "r-1", loaded, plan, "#!/bin/bash\n")


def train(run, until, shares, finished):
    """One attempt of two ranks, batches of 4: epoch 0, and epoch 1 up to `until`."""
    begin_attempt(run, job_id="1", cluster="local", nodes=["n"])
    for rank in (0, 1):
        with LedgerWriter(run, 1, rank_writer(rank)) as ledger:
            ledger.append(
                "training_started", step=0, epoch=0, sample=0, ranks=2, batch_size=4, samples=37
            )
            first = [[rank * 4, 4, 8, 4], [32 + rank * 3, 3 - rank, 3 - rank, 1]]
            ledger.append("consumed", step=5, epoch=0, ranges=first)
            if rank == 0:
                ledger.append("checkpoint_committed", step=5, epoch=1, sample=0)
            if until:
                ledger.append("consumed", step=7, epoch=1, ranges=shares[rank])
                if rank == 0:
                    ledger.append("checkpoint_committed", step=7, epoch=1, sample=until)
    if finished:
        write_json_atomic(run.result_json, {"attempt": 1, "steps": 5})


def verify(run, capsys, *more):
    code = main(["verify", str(run.path), *more])
    return code, capsys.readouterr()


def test_whole_epochs_are_proven(run, capsys):
    train(run, 0, {}, finished=True)
    code, said = verify(run, capsys)
    assert code == 0
    assert said.out.splitlines()[1:] == [
        "  attempt 1: steps 0 to 5",
        "proven: 1 epoch of 37 samples, each used once; 1 attempt",
    ]


def test_work_behind_the_lineage_is_shown(run, capsys):
    train(run, 16, [[[0, 4, 8, 2]], [[4, 4, 8, 2]]], finished=True)
    code, said = verify(run, capsys)
    assert code == 0
    assert "damaged checkpoint): 16 samples" in said.out


def test_an_unfinished_epoch_is_proven_up_to_its_cursor(run, capsys):
    train(run, 16, [[[0, 4, 8, 2]], [[4, 4, 8, 2]]], finished=False)
    code, said = verify(run, capsys)
    assert code == 0
    assert said.out.splitlines()[-1] == (
        "proven: 1 epoch of 37 samples and 16 samples of the next epoch, each used once; 1 attempt"
    )


def test_what_is_not_proven_names_its_first_fault_last(run, capsys):
    train(run, 16, [[[0, 4, 8, 2]], [[4, 4, 4, 1]]], finished=False)
    code, said = verify(run, capsys)
    fault = (
        "epoch 1: positions 12-15 were not used by any rank "
        "(rank 1 of attempt 1 should have, before step 7)"
    )
    assert code == 1
    assert said.out.splitlines()[-2:] == [f"fault: {fault}", f"not proven: {fault}"]
    code, said = verify(run, capsys, "--json")
    found = json.loads(said.out)
    assert code == 1
    assert (found["proven"], found["faults"]) == (False, [fault])
    assert (found["whole_epochs"], found["cursor"], found["samples"]) == (1, 16, 37)
    assert found["lineage"] == [{"attempt": 1, "from_step": 0, "to_step": 7}]


def test_nothing_committed_yet_and_no_such_run_are_the_users_mistakes(run, capsys):
    code, said = verify(run, capsys)
    assert (code, said.out) == (2, "")
    assert said.err == "error: r-1: nothing is committed yet, so there is nothing to verify\n"
    assert main(["verify", "r-2", "--runs-dir", str(run.path.parent)]) == 2
    assert "no such run" in capsys.readouterr().err
