"""What may change when a run goes on, and what may not (RS-008, RS-009)."""

import json
import shutil

import pytest

from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.checkpoint.catalog import MANIFEST, STATE
from ptycho_dist.rundir.layout import RunDirectory


@pytest.fixture
def stopped(make_config, launch, tmp_path):
    """A run that was prepared, and has ended without a checkpoint."""
    text = "model: {n_filters_scale: 0.125}\ntraining: {nepochs: 1}"
    done = launch("script", make_config(text), "--runs-dir", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs").iterdir()
    run = RunDirectory(path)
    begin_attempt(run, job_id="here:1:1", cluster="local", nodes=["n"])
    end_attempt(run, 1, 1)
    return run


@pytest.fixture
def resume(stopped, launch):
    """Resume on a SLURM that is not there: everything is checked, and nothing starts."""

    def call(*arguments, run=stopped):
        return launch("resume", run.path, *arguments, env={"PATH": "/nonexistent"})

    return call


def sets(*overrides):
    return [word for text in overrides for word in ("--set", text)]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "training.batch_size=8",
            "training.batch_size: 16 → 8: this would be a different",
        ),
        ("execution.learning_rate=0.1", "execution.learning_rate: 0.001 → 0.1: this would be a"),
        (
            "execution.accum_steps=2",
            "execution.accum_steps: 1 → 2: this would be a different",
        ),
        ("model.N=128", "model.N: 64 → 128: this would be a different"),
        ("resources.tasks_per_node=2", "allow it with --allow-resize"),
        (
            "resources.cpus_per_task=4",
            "a different number of ranks or threads gives",
        ),
        ("execution.num_worker=2", "did you mean execution.num_workers?"),
        ("execution.num_workers=-1", "execution.num_workers"),
        ("bogus.field=1", "bogus: unknown key"),
        ("nonsense", "expected section.field=value"),
    ],
)
def test_what_may_not_change_is_refused_by_name(resume, stopped, override, words):
    before = {path.name: path.read_bytes() for path in stopped.path.glob("*.json")}
    done = resume(*sets(override))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in stopped.path.glob("*.json")} == before


def test_all_refusals_come_at_once(resume):
    done = resume(*sets("training.batch_size=8", "execution.learning_rate=0.1"))
    assert len(done.stderr.splitlines()) == 2


def changed(run):
    return json.loads(run.run_json.read_text()).get("revisions", [])


def test_what_may_change_is_kept_with_the_plan_and_the_script(stopped, make_config, launch):
    done = launch(
        "resume", stopped.path, "--cluster", "local", "--wait",
        *sets("execution.num_workers=1", "resources.time=0:30:00", "requeue.max_restarts=3"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (revision,) = changed(stopped)
    assert revision["changes"] == {
        "execution.num_workers": "0 → 1",
        "requeue.max_restarts": "10 → 3",
        "resources.time": '"01:00:00" → "0:30:00"',
    }
    assert stopped.config().execution.num_workers == 1
    assert "#SBATCH --time=0:30:00" in stopped.script.read_text()
    plan = json.loads(stopped.plan_json.read_text())
    assert plan["walltime_s"] == 1800
    assert "data" in plan
    assert "resized" not in plan


def test_a_run_that_measures_still_does_when_it_goes_on(stopped, launch):
    """SC-033, SC-035: and says why it has finished."""
    plan = json.loads(stopped.plan_json.read_text())
    measurement = {"until": "steps", "value": 1, "warm_up_steps": 0}
    stopped.plan_json.write_text(json.dumps({**plan, "measurement": measurement}))
    done = launch("resume", stopped.path, "--cluster", "local", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(stopped.plan_json.read_text())["measurement"] == measurement
    assert json.loads(stopped.result_json.read_text())["steps"] == 1
    told = json.loads(launch("status", stopped.path, "--json").stdout)
    assert (told["state"], told["cause"]) == ("finished", "what was to be measured is measured")


def test_a_run_that_was_moved_says_so_and_goes_on(stopped, launch, tmp_path, scan_file):
    """RS-009: the script is made anew for the place where it is now."""
    elsewhere = RunDirectory(tmp_path / "other" / stopped.run_id)
    elsewhere.path.parent.mkdir()
    shutil.move(stopped.path, elsewhere.path)
    scan = tmp_path / "other" / "scan.npz"
    shutil.copy(scan_file, scan)
    arguments = ("resume", elsewhere.path, "--cluster", "local", "--wait")
    refused = launch(*arguments)
    assert refused.returncode == 2
    assert "names another run directory" in refused.stderr
    done = launch(*arguments, "--moved", *sets(f"data.train_data_file={scan}"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(elsewhere.path) in elsewhere.script.read_text()
    assert elsewhere.config().data.train_data_file == scan


def test_other_contents_under_the_new_path_are_refused(resume, simulate, tmp_path):
    other = simulate(tmp_path / "other.npz", n_patterns=37, seed=9)
    done = resume(*sets(f"data.train_data_file={other}"))
    assert done.returncode == 2
    assert "is not the file that the run was planned with" in done.stderr


def test_damaged_checkpoints_are_said_before_anything_is_submitted(resume, stopped):
    folder = stopped.checkpoints / "step-00000003"
    folder.mkdir()
    (folder / STATE).write_bytes(b"x")
    (folder / MANIFEST).write_text("{}")
    done = resume()
    assert done.returncode == 2
    assert "every checkpoint is damaged" in done.stderr
