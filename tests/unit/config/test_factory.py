"""From a call to checked configs: precedence, origins, unknown overrides (EC-020 to EC-024)."""

import dataclasses
import logging

import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.factory import create_inference_payload, create_training_payload
from ptycho_dist.config.faults import ConfigError
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.training import TrainingConfig


def test_overrides_stand_above_the_execution_config_and_that_above_the_front_end(scan_file):
    """EC-020, EC-022"""
    execution = PyTorchExecutionConfig(learning_rate=3e-3, num_workers=2, devices=2)
    payload = create_training_payload(
        scan_file,
        "out",
        execution_config=execution,
        overrides={"learning_rate": 5e-3, "training.nepochs": 7, "resources.tasks_per_node": 2},
    )
    config = payload.loaded.config
    assert config.execution == dataclasses.replace(execution, learning_rate=5e-3)
    assert config.execution.accelerator == "cpu"  # of the dataclass: the object says all of it
    origins = payload.loaded.origins
    assert origins["execution.learning_rate"] == "override"
    assert origins["execution.num_workers"] == "execution config"
    assert origins["training.nepochs"] == "override"
    assert origins["training.batch_size"] == "default"
    assert payload.applied == {
        "execution.learning_rate": 5e-3,
        "training.nepochs": 7,
        "resources.tasks_per_node": 2,
    }


def test_without_an_execution_config_the_front_end_says_auto(scan_file):
    """EC-010, EC-020"""
    payload = create_training_payload(scan_file, "out")
    execution = payload.execution
    assert (execution.accelerator, execution.devices, execution.num_nodes) == ("auto",) * 3
    assert payload.loaded.origins["execution.accelerator"] == "front end"
    inference = create_inference_payload("run", scan_file, "out")
    assert inference.execution.accelerator == "auto"


def test_the_canonical_config_has_the_values_of_the_run(scan_file):
    """EC-024"""
    payload = create_training_payload(
        scan_file, "out", overrides={"N": 64, "n_groups": 12, "batch_size": 4, "gridsize": 2}
    )
    training, run = payload.training, payload.loaded.config
    assert isinstance(training, TrainingConfig)
    assert training.model == run.model == ModelConfig(N=64, gridsize=2)
    assert (training.n_groups, training.batch_size) == (12, 4)
    assert training.train_data_file == scan_file
    assert str(training.output_dir) == "out"


def test_unknown_overrides_are_errors_all_at_once(scan_file):
    """EC-021"""
    wrong = {"batch_sise": 4, "data.n_group": 3, "qqqq": 1}
    with pytest.raises(ConfigError) as caught:
        create_training_payload(scan_file, "out", overrides=wrong)
    messages = {fault.path: fault.message for fault in caught.value.faults}
    assert messages == {
        "batch_sise": "unknown override; did you mean batch_size?",
        "data.n_group": "unknown override; did you mean data.n_groups?",
        "qqqq": "unknown override",
    }
    with pytest.raises(ValueError, match="test_dta: unknown override"):
        create_inference_payload("run", scan_file, "out", overrides={"test_dta": 1})


def test_wrong_values_are_errors_with_field_value_and_what_is_allowed(scan_file):
    """EC-002"""
    with pytest.raises(ValueError, match=r"training\.batch_size: must be a power of two.*found 12"):
        create_training_payload(scan_file, "out", overrides={"batch_size": 12})
    with pytest.raises(ConfigError) as caught:
        create_inference_payload(
            "run", scan_file, "out", overrides={"n_groups": 0, "inference_batch_size": 0}
        )
    assert {fault.path for fault in caught.value.faults} == {
        "n_groups",
        "execution.inference_batch_size",
    }
    with pytest.raises(ValueError, match="given twice: 3 and 4"):
        create_training_payload(scan_file, "out", overrides={"n_groups": 3, "data.n_groups": 4})


def test_applied_overrides_are_logged_with_their_origin(scan_file, caplog):
    """EC-023"""
    caplog.set_level(logging.INFO)
    create_training_payload(
        scan_file, "out", overrides={"nepochs": 3, "seed": 5}, sources={"training.seed": "--seed"}
    )
    assert caplog.messages == ["training.nepochs = 3 (override)", "training.seed = 5 (--seed)"]


def test_n_images_is_deprecated_everywhere(scan_file):
    """EC-012"""
    with pytest.warns(DeprecationWarning, match="n_images is deprecated; use n_groups"):
        payload = create_training_payload(scan_file, "out", overrides={"n_images": 9})
    assert payload.training.n_groups == 9
    with pytest.warns(DeprecationWarning, match="n_images"):
        assert TrainingConfig(n_images=9).n_groups == 9
    with pytest.warns(DeprecationWarning, match="n_images"):
        inference = InferenceConfig(model_path="r", test_data_file="t.npz", n_images=9)
    assert inference.n_groups == 9
    with (
        pytest.warns(DeprecationWarning, match="n_images"),
        pytest.raises(ValueError, match="n_images is 9 and n_groups is 8"),
    ):
        TrainingConfig(n_images=9, n_groups=8)


def test_the_text_that_is_kept_is_a_run_yaml_of_the_same_config(scan_file, tmp_path):
    """EC-024: what a command started can be submitted."""
    execution = PyTorchExecutionConfig(
        accelerator="auto", recon_log_fixed_indices=(1, 2), recon_log_every_n_epochs=5
    )
    payload = create_training_payload(
        scan_file, "out", execution_config=execution, overrides={"nepochs": 3}
    )
    path = tmp_path / "run.yaml"
    path.write_text(payload.loaded.text)
    assert read_run_config(path).sound().config == payload.loaded.config
