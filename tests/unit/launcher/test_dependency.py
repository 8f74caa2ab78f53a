"""A run that starts when others have finished (LP-052)."""

import pytest

from launcher.control.after import dependency_options
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory


@pytest.fixture
def run(make_config, launch, tmp_path):
    done = launch("script", make_config(), "--runs-dir", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs").iterdir()
    return RunDirectory(path)


def test_a_run_that_failed_or_was_never_submitted_is_refused(run):
    with pytest.raises(UserError, match=f"--after {run.run_id}: it is prepared"):
        dependency_options([run])
    begin_attempt(run, job_id="7", cluster="slurm", nodes=["n"])
    end_attempt(run, 1, 1)
    with pytest.raises(UserError, match=f"--after {run.run_id}: it is failed .*resume it first"):
        dependency_options([run])


def test_a_finished_run_needs_no_option(run):
    begin_attempt(run, job_id="7", cluster="slurm", nodes=["n"])
    write_json_atomic(run.result_json, {})
    end_attempt(run, 1, 0)
    assert dependency_options([run]) == []
