"""Translate the canonical config to legacy keys, one way only and never the execution config."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.training import TrainingConfig, TrainingSection
from ptycho_dist.legacy.errors import ExecutionConfigRefused, LegacyError
from ptycho_dist.legacy.params import DEFAULTS
from ptycho_dist.legacy.sealing import EXECUTION_FIELDS, LegacyValues, derived_big_n

KEY_MAPPING = {
    "object_big": "object.big",
    "probe_big": "probe.big",
    "probe_mask": "probe.mask",
    "probe_trainable": "probe.trainable",
    "intensity_scale_trainable": "intensity_scale.trainable",
    "positions_provided": "positions.provided",
    "output_dir": "output_prefix",
    "train_data_file": "train_data_file_path",
    "test_data_file": "test_data_file_path",
}
"""Legacy key of each canonical field that has another name there; all others keep their name."""

OTHER_MEANING = frozenset({"probe"})
"""Fields left out: ours says which probe to use, while the legacy `probe` is the probe itself."""

_CANONICAL = (DataConfig, ModelConfig, TrainingSection, TrainingConfig, InferenceConfig)


def dataclass_to_legacy_dict(config: Any) -> dict[str, Any]:
    """Translate a canonical config to legacy keys and values, including those that are None.

    Args:
        config: A RunConfig, of which only the canonical sections (data, model, training) are used;
            or a Data-, Model-, Training- or InferenceConfig. A canonical config inside another one
            is flattened. Paths become text.

    Raises:
        ExecutionConfigRefused: The config is or contains an execution config, or has a field with
            the name of one of its fields (CONFIG-002).
        LegacyError: The config is not canonical, a value is not plain data, or two fields give one
            legacy key different values.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for path, name, value in _fields(config, type(config).__name__):
        key = KEY_MAPPING.get(name, name)
        if name in EXECUTION_FIELDS or key in EXECUTION_FIELDS:
            raise ExecutionConfigRefused(
                f"CONFIG-002: {path} has the name of an execution field, which never reaches the "
                "legacy globals"
            )
        plain = _plain(path, value)
        if key in values and (values[key], type(values[key])) != (plain, type(plain)):
            raise LegacyError(
                f"the legacy value {key!r} is {values[key]!r} by {origins[key]} and {plain!r} by "
                f"{path}; it can have one"
            )
        values[key], origins[key] = plain, path
    return values


def update_legacy_dict(cfg: dict[str, Any], config: Any) -> None:
    """Write the values of a canonical config into `cfg`; other keys keep their values.

    None resets a key to its state in a fresh process: to its default in `params.cfg`, and to
    absent in any other dict. A stored bigN is recomputed. After an error nothing has changed.

    Raises:
        ExecutionConfigRefused: See `dataclass_to_legacy_dict`.
        LegacyError: See `dataclass_to_legacy_dict`.
        LegacySealed: `cfg` is sealed.
    """
    apply_legacy_values(cfg, dataclass_to_legacy_dict(config))


def apply_legacy_values(cfg: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Do what `update_legacy_dict` does, with values that are already translated.

    Raises:
        LegacySealed: `cfg` is sealed.
    """
    fresh = DEFAULTS if isinstance(cfg, LegacyValues) else {}
    changes = {
        key: fresh[key] if value is None else value
        for key, value in values.items()
        if value is not None or key in fresh
    }
    cleared = [key for key in values if key in cfg and key not in changes]
    if "bigN" in cfg:
        try:
            changes["bigN"] = derived_big_n({**cfg, **changes})
        except KeyError:
            cleared.append("bigN")
    cfg.update(changes)
    for key in cleared:
        del cfg[key]


def _fields(config: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the path for messages, the name and the value of each field, flattening as it goes."""
    if isinstance(config, PyTorchExecutionConfig):
        raise ExecutionConfigRefused(
            f"CONFIG-002: {path} is an execution config, which never reaches the legacy globals"
        )
    is_run = isinstance(config, RunConfig)
    if not is_run and not isinstance(config, _CANONICAL):
        raise LegacyError(
            f"{path} is a {type(config).__name__}; the legacy globals take a RunConfig or one of "
            f"{', '.join(kind.__name__ for kind in _CANONICAL)}"
        )
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        inner = f"{path}.{field.name}"
        if is_run:  # how, where and under what name a run executes is not a physics parameter
            if isinstance(value, _CANONICAL):
                yield from _fields(value, inner)
        elif dataclasses.is_dataclass(value):
            yield from _fields(value, inner)
        elif field.name not in OTHER_MEANING and (field.name, value) != ("model", None):
            yield inner, field.name, value


def _plain(path: str, value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple)):
        return tuple(_plain(path, member) for member in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise LegacyError(f"{path}: a {type(value).__name__} cannot be a legacy value")
