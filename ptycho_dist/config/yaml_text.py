"""Safe reading of YAML: only plain values of YAML 1.2, nothing executable, nothing ambiguous.

PyYAML follows YAML 1.1, where `on` is a truth value, `12:30:00` the number 45000 and `1e-3` a
string. A run config needs `requeue.on`, walltimes and learning rates, so the scalars here are
those of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ptycho_dist.errors import UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20


class YamlError(UserError):
    """Text that is not valid YAML for a config; the message names line and column."""


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the scalars of the YAML 1.2 core schema."""


_CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Read an integer as decimal: PyYAML reads 010 as octal, but in YAML 1.2 it is ten."""
    return int(str(loader.construct_scalar(node)))


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _decimal)


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML into mappings, lists and plain scalars.

    Args:
        text: the YAML.
        source: where the text comes from, for messages: a path, or `--set a.b`.

    Raises:
        YamlError: the text is not YAML, is too long or too deeply nested, or contains a tab, a
            repeated key, an alias, a tag or several documents.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(
            f"{source}: {len(text)} characters are too many for a config (limit {MAX_BYTES})"
        )
    try:
        _refuse_surprises(_CoreLoader(text), source)
        return _CoreLoader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        raise YamlError(f"{source}{_place(error.problem_mark)}: {_advice(error)}") from None
    except yaml.YAMLError as error:
        raise YamlError(f"{source}: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise YamlError(f"{source}: {error}") from None


def field_lines(text: str) -> dict[str, int]:
    """Dotted field path → line of its key, counted from 1; empty if `text` is not a mapping."""
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    lines: dict[str, int] = {}
    rest = [("", root)]
    while rest:
        prefix, node = rest.pop()
        if not isinstance(node, yaml.MappingNode):
            continue
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[f"{prefix}{key.value}"] = key.start_mark.line + 1
                rest.append((f"{prefix}{key.value}.", value))
    return lines


def _refuse_surprises(loader: yaml.SafeLoader, source: str) -> None:
    """Refuse what a config must not contain, before any object is built.

    Aliases are refused because they can expand without bound.
    """
    keys: list[tuple[bool, set[str], bool]] = []  # (is mapping, keys seen, a key comes next)
    while loader.check_event():
        event = loader.get_event()
        place = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise YamlError(f"{source}{place}: aliases are not allowed; write the value out")
        if getattr(event, "tag", None) is not None:
            raise YamlError(f"{source}{place}: the tag {event.tag!r} is not allowed")
        if isinstance(event, yaml.ScalarEvent) and keys and keys[-1][0] and keys[-1][2]:
            if event.value in keys[-1][1]:
                raise YamlError(f"{source}{place}: the key {event.value!r} appears twice")
            keys[-1][1].add(event.value)
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            keys.pop()
        if (
            isinstance(event, (yaml.NodeEvent, yaml.MappingEndEvent, yaml.SequenceEndEvent))
            and keys
            and not isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
        ):
            is_mapping, seen, key_comes = keys[-1]
            keys[-1] = (is_mapping, seen, not key_comes)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            keys.append((isinstance(event, yaml.MappingStartEvent), set(), True))
            if len(keys) > MAX_DEPTH:
                raise YamlError(f"{source}{place}: nested more than {MAX_DEPTH} deep")


def _place(mark: Any) -> str:
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _advice(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem).split())
    if "'\\t'" in problem:
        return "contains a tab; YAML indents with spaces"
    return f"not valid YAML: {problem}"
