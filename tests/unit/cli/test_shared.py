"""The CLI helpers of the execution-config contract (EC-030 to EC-036)."""

import argparse
import ast
import dataclasses
import warnings
from pathlib import Path

import pytest

from ptycho_dist.cli import infer, train
from ptycho_dist.cli.flags import add_flags, given_flags
from ptycho_dist.cli.shared import (
    INFERENCE_FLAGS,
    MODES,
    TRAINING_FLAGS,
    build_execution_config_from_args,
    resolve_accelerator,
    validate_paths,
    warnings_in_one_line,
)
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.load import FRONT_END_DEFAULTS

REPOSITORY = Path(__file__).parents[3]
FILES = {
    "training": ["--train_data_file", "a.npz", "--output_dir", "o"],
    "inference": ["--model_path", "r", "--test_data", "a.npz", "--output_dir", "o"],
}
PARSERS = {"training": train.build_parser, "inference": infer.build_parser}


def parsed(mode, *words):
    return PARSERS[mode]().parse_args([*FILES[mode], *words])


@pytest.mark.parametrize(
    ("accelerator", "device", "expected"),
    [
        ("auto", "cpu", "cpu"),
        ("auto", "cuda", "gpu"),
        ("cpu", "cuda", "cpu"),
        ("mps", "cpu", "mps"),
    ],
)
def test_device_is_deprecated_and_accelerator_wins(accelerator, device, expected):
    """EC-033"""
    with pytest.warns(DeprecationWarning, match="--device is deprecated"):
        assert resolve_accelerator(accelerator, device) == expected


def test_without_device_nothing_is_warned_of():
    """EC-033"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_accelerator() == "auto"
        assert resolve_accelerator("tpu", None) == "tpu"


@pytest.mark.parametrize("mode", MODES)
def test_the_defaults_of_the_commands_are_those_of_the_config_but_auto(mode):
    """EC-031: accelerator, devices and num_nodes are auto; all else as in the dataclass."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execution = build_execution_config_from_args(parsed(mode), mode)
    expected = dataclasses.replace(
        PyTorchExecutionConfig(),
        accelerator="auto",
        devices="auto",
        num_nodes="auto",
        enable_progress_bar=True,
    )
    assert execution == expected
    assert execution == build_execution_config_from_args(argparse.Namespace(), mode)


OTHERS = {
    "--accelerator": ("cuda", "cuda"),
    "--devices": ("2", 2),
    "--num-nodes": ("2", 2),
    "--strategy": ("ddp", "ddp"),
    "--precision": ("bf16-mixed", "bf16-mixed"),
    "--no-deterministic": (None, False),
    "--learning-rate": ("0.25", 0.25),
    "--scheduler": ("WarmupCosine", "WarmupCosine"),
    "--accumulate-grad-batches": ("2", 2),
    "--gradient-clip-val": ("0.25", 0.25),
    "--gradient-clip-algorithm": ("agc", "agc"),
    "--num-workers": ("2", 2),
    "--prefetch-factor": ("2", 2),
    "--pin-memory": (None, True),
    "--persistent-workers": (None, True),
    "--checkpoint-save-top-k": ("-1", -1),
    "--checkpoint-monitor": ("train_loss", "train_loss"),
    "--checkpoint-mode": ("max", "max"),
    "--early-stop-patience": ("2", 2),
    "--logger": ("none", "none"),
    "--inference-batch-size": ("2", 2),
    "--middle-trim": ("32", 32),
}
"""For each flag a word that is not the default, and the value it means."""


@pytest.mark.parametrize(
    ("mode", "flag"),
    [(mode, flag) for mode, flags in MODES.items() for flag in flags],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_flag_sets_its_field(mode, flag):
    """EC-030"""
    name = flag.name if flag.name in OTHERS else flag.name.replace("--", "--no-", 1)
    word, value = OTHERS[name]
    words = [] if word is None else [word]
    extra = ["--num-workers", "1"] if flag.key in {"persistent_workers", "prefetch_factor"} else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        execution = build_execution_config_from_args(parsed(mode, *extra, name, *words), mode)
    field = flag.path.rpartition(".")[2]
    assert getattr(execution, field) == value != getattr(PyTorchExecutionConfig(), field)


def test_switches_and_deprecated_flags():
    """EC-032, EC-034"""
    off = build_execution_config_from_args(parsed("training", "--disable-checkpointing", "--quiet"))
    assert (off.enable_checkpointing, off.enable_progress_bar) == (False, False)
    with pytest.warns(DeprecationWarning, match="--disable_mlflow is deprecated"):
        silent = build_execution_config_from_args(
            parsed("training", "--disable_mlflow", "--logger", "csv")
        )
    assert (silent.logger_backend, silent.enable_progress_bar) == ("none", False)
    with pytest.warns(DeprecationWarning, match="use --accelerator gpu"):
        cuda = build_execution_config_from_args(
            parsed("inference", "--device", "cuda"), "inference"
        )
    assert cuda.accelerator == "gpu"


def test_workers_beside_determinism_are_warned_of():
    """EC-035"""
    with pytest.warns(UserWarning, match="deterministic with 2 workers"):
        build_execution_config_from_args(parsed("training", "--num-workers", "2"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_execution_config_from_args(
            parsed("training", "--num-workers", "2", "--no-deterministic")
        )


def test_an_unknown_mode_and_a_wrong_value_are_value_errors():
    """EC-002, EC-030"""
    with pytest.raises(ValueError, match="mode: 'predict', allowed are training, inference"):
        build_execution_config_from_args(parsed("training"), "predict")
    with pytest.raises(ValueError, match="learning_rate") as caught:
        build_execution_config_from_args(parsed("training", "--learning-rate", "-1"))
    assert "-1" in str(caught.value)
    assert "greater than 0" in str(caught.value)


def test_paths_are_checked_before_the_folder_is_made(tmp_path):
    """EC-036"""
    there = tmp_path / "a.npz"
    there.touch()
    out = tmp_path / "deep" / "out"
    for wrong in ((tmp_path / "b.npz", None), (there, tmp_path / "b.npz"), (tmp_path, None)):
        with pytest.raises(FileNotFoundError, match="data file: "):
            validate_paths(*wrong, out)
        assert not out.exists()
    validate_paths(there, None, out)
    validate_paths(None, there, out)
    assert out.is_dir()


def test_the_commands_build_no_execution_config_themselves():
    """EC-030: nothing under cli/ but shared.py names the class."""
    for path in sorted((REPOSITORY / "ptycho_dist/cli").glob("*.py")):
        names = {
            getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        }
        if path.name == "shared.py":
            assert "PyTorchExecutionConfig" in names
        else:
            assert "PyTorchExecutionConfig" not in names, path.name


def test_a_flag_that_was_typed_is_known_from_one_at_its_default():
    """EC-022"""
    parser = train.build_parser()
    words = [*FILES["training"], "--learning-rate", "1e-3", "--no-probe-mask"]
    given = given_flags(parser, words)
    assert {"learning_rate", "probe_mask"} <= given
    assert not {"accelerator", "batch_size", "enable_checkpointing"} & given
    assert parser.parse_args(words).accelerator == "auto"


@pytest.mark.parametrize("mode", MODES)
def test_defaults_of_the_parsers_are_those_of_the_fields(mode):
    """EC-031: a default changed in a parser alone is found here, and by the generated tables."""
    parser = PARSERS[mode]()
    for flag in MODES[mode]:
        name = flag.path.rpartition(".")[2]
        expected = FRONT_END_DEFAULTS.get(flag.path, getattr(PyTorchExecutionConfig(), name))
        assert parser.get_default(flag.key) == expected, flag.name


def test_every_flag_of_the_peer_is_there():
    """EC-032: the flags that users of PtychoPINN's commands type (its README and CLI help)."""
    words = {
        "training": "train_data_file test_data_file output_dir max_epochs n_images gridsize "
        "batch_size torch-loss-mode probe-mask no-probe-mask accelerator deterministic "
        "no-deterministic num-workers learning-rate logger enable-checkpointing "
        "disable-checkpointing checkpoint-save-top-k checkpoint-monitor checkpoint-mode "
        "early-stop-patience scheduler accumulate-grad-batches quiet device disable_mlflow "
        "devices num-nodes strategy precision gradient-clip-val gradient-clip-algorithm "
        "prefetch-factor pin-memory persistent-workers resume",
        "inference": "model_path test_data output_dir n_images accelerator num-workers "
        "inference-batch-size quiet device",
    }
    for mode, parser in PARSERS.items():
        options = set(parser()._option_string_actions)
        assert {f"--{word}" for word in words[mode].split()} <= options
    defaults = vars(parsed("training"))
    peer = {"max_epochs": 100, "gridsize": 2, "batch_size": 16, "logger": "csv", "num_workers": 0}
    peer |= {
        "checkpoint_monitor": "val_loss",
        "early_stop_patience": 100,
        "torch_loss_mode": "poisson",
    }
    assert {name: defaults[name] for name in peer} == peer


def test_warnings_are_one_line_each(capsys):
    with warnings_in_one_line():
        warnings.warn("--device is deprecated", DeprecationWarning, stacklevel=1)
    with warnings_in_one_line(audible=False):
        warnings.warn("nobody hears it", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: --device is deprecated\n"


def test_flags_of_numbers_say_what_they_want(capsys):
    parser = argparse.ArgumentParser()
    add_flags(parser, [*TRAINING_FLAGS, *INFERENCE_FLAGS[-2:]])
    for words, said in (
        (["--devices", "x"], "'x': a whole number or auto is expected"),
        (["--learning-rate", "x"], "'x': a number is expected"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert said in capsys.readouterr().err
