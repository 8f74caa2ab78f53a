"""Single values put over a config: `--set section.field=value`, and those of array members."""

from __future__ import annotations

from typing import Any

from ptycho_dist.config.plain_data import leaf_paths
from ptycho_dist.config.yaml_text import parse_yaml
from ptycho_dist.errors import UserError


def parse_override(text: str) -> tuple[str, Any]:
    """Split the text of a `--set` into the dotted field path and the value, read as YAML.

    Raises:
        UserError: it is not of the form `section.field=value`, or the value is not YAML.
    """
    dotted, equals, value = text.partition("=")
    path = dotted.strip()
    if not equals or not all(path.split(".")):
        raise UserError(f"--set {text}: expected section.field=value")
    return path, parse_yaml(value, f"--set {path}")


def set_value(
    data: dict[str, Any], origins: dict[str, str], dotted: str, value: Any, option: str
) -> None:
    """Set a value in plain data and record its origin.

    Args:
        data: sections of fields; changed in place.
        origins: field path → origin of its value; changed in place.
        dotted: field path.
        value: the new value.
        option: where the value comes from, as its origin and for messages.

    Raises:
        UserError: the path leads through a value that is not a section.
    """
    *sections_of_it, name = dotted.split(".")
    block = data
    for key in sections_of_it:
        if block.get(key) is None:
            block[key] = {}
        block = block[key]
        if not isinstance(block, dict):
            raise UserError(f"{option} {dotted}: {key} is a value, not a section")
    block[name] = value
    for path in [path for path in origins if path.startswith(f"{dotted}.")]:
        del origins[path]
    origins.update(dict.fromkeys(leaf_paths(value, dotted), option))
