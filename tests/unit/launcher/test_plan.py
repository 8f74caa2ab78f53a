"""Contradictions are refused before anything is submitted (LP-020 to LP-030)."""

import sys
from pathlib import Path

import pytest

from launcher.planning.plan import DataFacts, make_plan
from ptycho_dist.config import logger_package
from ptycho_dist.config.load import ConfigError, read_run_config

FACTS = DataFacts(n_patterns=37, N=64)


def plan(make_config, text, facts=FACTS, test=None):
    return make_plan(read_run_config(make_config(text)).sound(), facts, test)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("resources: {tasks_per_node: 2, gpus_per_node: 4}", "resources.tasks_per_node", "equal"),
        (
            "resources: {gpus_per_node: 4}\nexecution: {accelerator: cpu}",
            "resources.gpus_per_node",
            "omit one of the two",
        ),
        ("execution: {accelerator: cuda}", "resources.gpus_per_node", "no GPU is requested"),
        ("execution: {accelerator: gpu}", "resources.gpus_per_node", "no GPU is requested"),
        (
            "resources: {nodes: 2}\nexecution: {accelerator: mps}",
            "execution.accelerator",
            "one rank only, not 2",
        ),
        ("execution: {accelerator: tpu}", "execution.accelerator", "not supported"),
        ('resources: {time: "00:02:50"}', "resources.time", "120 s (auto; nothing measured"),
        (
            'resources: {time: "00:00:50"}\nrequeue: {signal_lead_s: 60}',
            "requeue.signal_lead_s",
            "nothing would run",
        ),
        ("resources: {nodes: 38}", "resources.nodes", "38 ranks, but only 37 samples"),
        ("model: {gridsize: 3}", "data.neighbor_count", "at least 9"),
        ("model: {N: 128}", "model.N", "64 × 64"),
        ("training: {nll_weight: 0}", "training.nll_weight", "so there is no loss"),
        (
            "execution: {checkpoint_monitor_metric: mae_val_loss}",
            "execution.checkpoint_monitor_metric",
            "mae_val_loss, but this run has val_loss, train_loss, poisson_val_loss and",
        ),
        (
            "execution: {recon_log_every_n_epochs: 1, recon_log_fixed_indices: [3, 37]}",
            "execution.recon_log_fixed_indices",
            "37, but there are only 37 samples, counted from 0",
        ),
        (
            "execution: {precision: 16-mixed, accelerator: cpu}",
            "execution.precision",
            "use bf16-mixed or 32-true",
        ),
    ],
)
def test_contradictions(make_config, text, path, words):
    with pytest.raises(ConfigError) as caught:
        plan(make_config, text)
    faults = {fault.path: fault.message for fault in caught.value.faults}
    assert words in faults[path]


def test_all_contradictions_come_at_once(make_config):
    with pytest.raises(ConfigError) as caught:
        plan(make_config, 'model: {N: 128}\nresources: {time: "1:00", nodes: 99}')
    assert {fault.path for fault in caught.value.faults} == {
        "model.N",
        "resources.nodes",
        "resources.time",
    }


def test_blocks_larger_than_the_scan_are_refused(make_config):
    """REC-012."""
    path = make_config()
    path.write_text(path.read_text().replace("npz}", "npz, block_size: 38}"))
    with pytest.raises(ConfigError, match=r"data\.block_size: 38 patterns per block, .* only 37"):
        make_plan(read_run_config(path).sound(), FACTS, None)


def test_more_groups_than_patterns_are_refused(make_config, tmp_path):
    path = make_config()
    path.write_text(path.read_text().replace("npz}", "npz, n_groups: 38}"))
    with pytest.raises(ConfigError, match=r"data\.n_groups: 38 groups, .* 37 patterns"):
        make_plan(read_run_config(path).sound(), FACTS, None)


def test_the_validation_file_must_fit_too(make_config):
    with pytest.raises(ConfigError) as caught:
        plan(make_config, "", test=DataFacts(10, 128))
    assert caught.value.faults[0].path == "model.N"


def test_auto_stays_symbolic(make_config):
    assert plan(make_config, "resources: {gpus_per_node: 2}").accelerator == "auto"
    assert plan(make_config, "resources: {gpus_per_node: 2}").world.tasks_per_node == 2


@pytest.mark.effect("execution.logger_backend")
def test_a_logger_whose_package_is_absent_is_found_before_submission(make_config, monkeypatch):
    """EC-060: where the ranks have the launcher's own Python; elsewhere each rank looks itself."""
    monkeypatch.setattr(logger_package.importlib.util, "find_spec", lambda name: None)
    asked = "execution: {logger_backend: tensorboard}\n"
    with pytest.raises(ConfigError, match="tensorboard needs the package") as caught:
        plan(make_config, asked)
    assert [fault.path for fault in caught.value.faults] == ["execution.logger_backend"]
    venv = f"venv: {sys.prefix}"
    for elsewhere in (venv, "modules: [python]", "env: {PYTHONPATH: /opt/tb}"):
        plan(make_config, f"{asked}environment: {{{elsewhere}}}")


@pytest.mark.effect("environment.venv")
def test_the_ranks_take_the_python_of_their_environment(make_config):
    assert plan(make_config, "").python == Path(sys.executable)
    text = f"environment: {{venv: {sys.prefix}}}"
    assert plan(make_config, text).python == Path(sys.prefix) / "bin" / "python"
