"""A run config as plain JSON data, and back; what run.json holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ptycho_dist.config.faults import ConfigError, Fault, faults_of
from ptycho_dist.config.run import RunConfig


def decode_run_config(data: Any, source: str) -> RunConfig:
    """Check plain data against the types and rules of RunConfig.

    Args:
        data: sections of fields.
        source: where the data comes from, for messages.

    Raises:
        ConfigError: with every fault, each with its field path.
    """
    faults = {
        path: Fault(path, "contains half of a surrogate pair, which is not valid text")
        for path in _broken(data)
    }
    try:
        encoded = json.dumps(data, ensure_ascii=False).encode(errors="replace")
        config = _adapter().validate_json(encoded)
    except ValidationError as error:
        for fault in faults_of(error):
            faults.setdefault(fault.path, fault)
    except TypeError as error:
        faults[""] = Fault("", f"not plain data: {error}")
    if faults:
        raise ConfigError(source, list(faults.values()))
    return config


def run_config_to_json(config: RunConfig) -> dict[str, Any]:
    """Return the config as plain JSON data; `decode_run_config` reads it back unchanged."""
    data: dict[str, Any] = _adapter().dump_python(config, mode="json")
    return data


def config_digest(config: RunConfig) -> str:
    """SHA-256 of the canonical JSON of a config; equal on all ranks."""
    return json_digest(run_config_to_json(config))


def config_values(config: RunConfig) -> dict[str, str]:
    """Field path → value as JSON text, for comparing two configs."""
    data = run_config_to_json(config)
    values = {}
    for path in leaf_paths(data):
        value: Any = data
        for key in path.split("."):
            value = value[key]
        values[path] = json.dumps(value)
    return values


def json_digest(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON.

    Computed from the stored data, it stays valid when a later version knows more fields.
    """
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def leaf_paths(data: Any, prefix: str = "") -> Iterator[str]:
    """Dotted paths of all values in nested mappings; an empty mapping counts as a value."""
    if isinstance(data, dict) and (data or not prefix):
        for key, value in data.items():
            yield from leaf_paths(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix


def _broken(data: Any, path: str = "") -> Iterator[str]:
    """Field paths of the texts and keys that contain half of a surrogate pair."""
    if isinstance(data, dict):
        for key, value in data.items():
            inner = f"{path}.{key}" if path else str(key)
            yield from _broken(str(key), inner)
            yield from _broken(value, inner)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _broken(value, f"{path}[{index}]")
    elif isinstance(data, str) and any("\ud800" <= character <= "\udfff" for character in data):
        yield path


@cache
def _adapter() -> TypeAdapter[RunConfig]:
    return TypeAdapter(RunConfig)
