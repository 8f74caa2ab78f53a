"""Makes checked configs from a call in Python or the flags of a command.

Precedence, highest first (EC-020): explicit overrides, the execution config, front-end default,
dataclass default. An override of an unknown key is an error; the applied ones are logged.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.faults import ConfigError, Fault, faults_of, sections
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.load import LoadedConfig, front_end_execution, load_run_data
from ptycho_dist.config.training import TrainingConfig

log = logging.getLogger(__name__)

OVERRIDE = "override"
EXECUTION_CONFIG = "execution config"
_DEPRECATED = {"n_images": "n_groups"}


@dataclass(frozen=True)
class TrainingPayload:
    """The configs of a training."""

    training: TrainingConfig
    execution: PyTorchExecutionConfig
    loaded: LoadedConfig
    """The run config that combines the two, with the origin of each value."""
    applied: Mapping[str, Any]
    """Field path → value of each override."""


@dataclass(frozen=True)
class InferencePayload:
    """The configs of a reconstruction."""

    inference: InferenceConfig
    execution: PyTorchExecutionConfig
    applied: Mapping[str, Any]
    """Field → value of each override."""


def create_training_payload(
    train_data_file: Path | str,
    output_dir: Path | str,
    *,
    execution_config: PyTorchExecutionConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    source: str = "overrides",
) -> TrainingPayload:
    """Make the configs of a training.

    Args:
        train_data_file: scan file of the data contract; it must exist.
        output_dir: the future run directory.
        execution_config: taken as it is; None: the defaults of the front ends.
        overrides: field → value, with the highest precedence. A field is named `batch_size` or,
            with its section, `training.batch_size`.
        sources: field path → name of the value's origin, instead of `override` and
            `execution config`; a command names its flags.
        source: the caller, for messages.

    Raises:
        ConfigError: with every unknown key, wrong value and missing file.
    """
    data: dict[str, Any] = {"name": "ptycho-train"}
    given = {"data.train_data_file": str(train_data_file)}
    origins = {"data.train_data_file": "argument"}
    if execution_config is not None:
        for name, value in dataclasses.asdict(execution_config).items():
            given[f"execution.{name}"] = value
            origins[f"execution.{name}"] = EXECUTION_CONFIG
    applied = _known(overrides or {}, _field_paths(), source)
    given |= applied
    origins |= dict.fromkeys(applied, OVERRIDE)
    origins |= {path: said for path, said in (sources or {}).items() if path in origins}
    for path, value in given.items():
        section, _, field = path.rpartition(".")
        block = data.setdefault(section, {}) if section else data
        block[field] = _plain(value)
    text = yaml.safe_dump(json.loads(json.dumps(data)), sort_keys=False)
    loaded = load_run_data(data, source, text, origins)
    _log(applied, origins)
    config = loaded.config
    parts = {
        field.name: getattr(section, field.name)
        for section in (config.data, config.training)
        for field in dataclasses.fields(section)
    }
    training = TrainingConfig(model=config.model, output_dir=Path(output_dir), **parts)
    return TrainingPayload(training, config.execution, loaded, applied)


def create_inference_payload(
    model_path: Path | str,
    test_data_file: Path | str,
    output_dir: Path | str,
    *,
    execution_config: PyTorchExecutionConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: str = "overrides",
) -> InferencePayload:
    """Make the configs of a reconstruction; omitted fields take the values of the training run.

    Args:
        model_path: run directory.
        test_data_file: scan file of the data contract.
        output_dir: folder for the reconstructed object.
        execution_config: taken as it is; None: the defaults of the front ends.
        overrides: field of InferenceConfig or of the execution config → value.
        source: the caller, for messages.

    Raises:
        ConfigError: with every unknown key and wrong value.
    """
    own = [field.name for field in dataclasses.fields(InferenceConfig)]
    of_execution = [
        f"execution.{field.name}" for field in dataclasses.fields(PyTorchExecutionConfig)
    ]
    applied = _known(overrides or {}, [*own, *of_execution], source)
    execution = execution_config or PyTorchExecutionConfig(**front_end_execution())
    faults: list[Fault] = []
    changes = {
        path.rpartition(".")[2]: value for path, value in applied.items() if path in of_execution
    }
    try:
        execution = dataclasses.replace(execution, **changes)
    except ValidationError as error:
        faults += faults_of(error, ("execution",))
    places = {
        "model_path": Path(model_path),
        "test_data_file": Path(test_data_file),
        "output_dir": Path(output_dir),
    }
    try:
        inference = InferenceConfig(**{**places, **{k: v for k, v in applied.items() if k in own}})
    except ValidationError as error:
        faults += faults_of(error)
    if faults:
        raise ConfigError(source, faults)
    _log(applied, dict.fromkeys(applied, OVERRIDE))
    return InferencePayload(inference, execution, applied)


def _field_paths() -> list[str]:
    """Field paths of run.yaml; a plain name means the field of the first section that has it."""
    first = ("training", "model", "data", "execution")
    rest = [name for name in sections() if name not in first]
    paths = [
        f"{section}.{field.name}"
        for section in (*first, *rest)
        for field in dataclasses.fields(sections()[section])
    ]
    return [*paths, "name", "reconstruct"]


def _known(overrides: Mapping[str, Any], paths: list[str], source: str) -> dict[str, Any]:
    """Return the overrides by full field path.

    Raises:
        ConfigError: names each key that is not a field, with the most similar field.
    """
    by_name: dict[str, str] = {}
    for path in paths:
        by_name.setdefault(path.rpartition(".")[2], path)
    known: dict[str, Any] = {}
    faults = []
    for key, value in overrides.items():
        section, _, name = key.rpartition(".")
        if name in _DEPRECATED and f"{section}.{name}" not in paths:
            new = _DEPRECATED[name]
            warnings.warn(f"{name} is deprecated; use {new}", DeprecationWarning, stacklevel=3)
            key = f"{section}.{new}" if section else new
        found = key if key in paths else by_name.get(key)
        if found is None:
            faults.append(Fault(key, _advice(key, [*by_name, *paths])))
        elif known.get(found, value) != value:
            faults.append(Fault(found, f"given twice: {known[found]!r} and {value!r}"))
        else:
            known[found] = value
    if faults:
        raise ConfigError(source, faults)
    return known


def _advice(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return "unknown override" + (f"; did you mean {close[0]}?" if close else "")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _log(applied: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    for path, value in sorted(applied.items()):
        log.info("%s = %r (%s)", path, value, origins[path])
