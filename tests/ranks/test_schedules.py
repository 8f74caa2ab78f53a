"""Step sizes and early stopping on real ranks: decided alike, kept across an interruption."""

import csv
import json

import pytest

from ptycho_dist.rundir.layout import RunDirectory

# A loss that cannot improve: the step size is far below rounding.
STANDSTILL = """
reconstruct: false
model: {{n_filters_scale: 0.125}}
training: {{nepochs: 9, batch_size: 16}}
execution: {{learning_rate: 1e-20, {execution}}}
resources: {{tasks_per_node: 2}}
"""


@pytest.fixture
def train(make_config, launch, tmp_path):
    def run(execution):
        config = make_config(STANDSTILL.format(execution=execution))
        root = tmp_path / "runs"
        done = launch("submit", config, "--cluster", "local", "--wait", "--runs-dir", root)
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = root.iterdir()
        return RunDirectory(path)

    return run


def step_sizes(run):
    with (run.metrics / "metrics.csv").open() as file:
        return [float(row["learning_rate"]) for row in csv.DictReader(file)]


def test_a_loss_that_stands_still_ends_the_training_on_all_ranks(train, launch):
    run = train("early_stop_patience: 2")
    assert len(step_sizes(run)) == 3
    result = json.loads(run.result_json.read_text())
    assert result["last_epoch"]["epoch"] == 2
    status = json.loads(launch("status", run.path, "--json").stdout)
    assert status["state"] == "finished"
    # An attempt that died after its last commit finds the training done, and adds no epoch.
    run.result_json.unlink()
    (attempt,) = run.attempts.iterdir()
    record = json.loads(attempt.read_text())
    record.update(exit_code=1)
    attempt.write_text(json.dumps(record))
    resumed = launch("resume", run.path, "--wait")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len(step_sizes(run)) == 3
    assert json.loads(run.result_json.read_text())["last_epoch"]["epoch"] == 2


def test_adaptive_halves_the_step_size_of_all_ranks(train):
    run = train("scheduler: Adaptive")
    whole, half, quarter = 1e-20, 0.5e-20, 0.25e-20
    expected = [whole] * 4 + [half] * 3 + [quarter] * 2
    assert step_sizes(run) == pytest.approx(expected, rel=1e-6)
