"""An array without SLURM, and a local submission that is killed before its record is written."""

import os
import signal

import pytest
from attempt_files import attempt_files

from launcher.arrays.plan import plan_array
from launcher.control import submit
from launcher.control.cancel import cancel
from launcher.planning.data_facts import read_data_facts
from launcher.planning.plan import make_plan
from launcher.status.array_status import array_status
from launcher.status.run_status import status_of
from ptycho_dist.config.load import read_run_config
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.listing import list_runs

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 1, batch_size: 16}
"""


def test_members_run_one_after_another_and_a_failure_stops_none(make_config, launch, tmp_path):
    """LP-238, LP-236: exit 0 only where all have finished; `list` shows one line."""
    root = tmp_path / "runs"
    done = launch(
        "submit", make_config(TEXT), "--cluster", "local", "--wait", "--runs-dir", root,
        "--array", "execution.learning_rate=1e30,1e-3",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2: 1 finished, 1 failed" in done.stdout
    (path,) = root.iterdir()
    _, members = ArrayDirectory(path).read()
    (first,), (second,) = (attempt_files(member.run) for member in members)
    assert first["ended_at"] <= second["started_at"]
    assert (first["outcome"], second["outcome"]) == ("failed", "finished")
    shown = array_status(ArrayDirectory(path)).to_json()
    assert [member["state"] for member in shown["members"]] == ["failed", "finished"]
    assert shown["members"][1]["loss"] > 0
    listed = launch("list", "--runs-dir", root).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["run", path.name]
    assert verify(members[1].run).proven


@pytest.mark.parametrize("array", [False, True])
def test_a_process_that_nobody_has_recorded_is_found(make_config, tmp_path, monkeypatch, array):
    """LP-221: of a run, and of an array, by what it runs."""
    root, config = tmp_path / "runs", make_config(TEXT)
    loaded = read_run_config(config).sound()
    plan = make_plan(loaded, read_data_facts(loaded.config.data.train_data_file), None)
    grid = plan_array(config, [], ["training.seed=1,2"])

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        submit.record_job = killed
        if array:
            from launcher.arrays.submit import submit_array

            submit_array(grid, "local", root)
        else:
            submit.submit(loaded, plan, "local", root)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    run, *others = list_runs(root)
    status = status_of(run)
    assert (status.state, status.cluster) in {("running", "local"), ("pending", "local")}
    for other in others:
        assert status_of(other).state == "pending"
        assert cancel(other).state == "cancelled"
    assert cancel(run).over
