"""Faults of a config, each with the field path as the user wrote it."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import get_type_hints

from pydantic import ValidationError

from ptycho_dist.config.run import RunConfig
from ptycho_dist.errors import UserError, printable

_SHOULD_BE = "input should be "
_RULE_OF_SECTIONS = re.compile(r"((?:[a-z]\w*\.)+\w+): (.*)")
"""Message of a rule that ties several fields together: it begins with the faulty field."""


@dataclass(frozen=True)
class Fault:
    """One fault of a config."""

    path: str
    """Field path, such as `resources.nodes`; empty: the config as a whole."""
    message: str
    """What is wrong."""

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.message}" if self.path else self.message)


class ConfigError(UserError, ValueError):
    """All faults of a config together."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{source}: {fault}" for fault in self.faults))


def faults_of(error: ValidationError, section: tuple[str, ...] = ()) -> Iterator[Fault]:
    """Translate pydantic's errors into faults with the field names of the config.

    Args:
        error: from validating a RunConfig, or the class of one section.
        section: the name of that section; empty for a RunConfig.
    """
    messages: dict[str, list[str]] = {}  # several per path: a union reports once per member
    found: dict[str, str] = {}
    emptied: set[str] = set()
    for item in error.errors(include_url=False):
        path = _field_path((*section, *item["loc"]))
        if item["type"] == "unexpected_keyword_argument":
            messages[path], found[path] = [unknown_key_advice(path)], ""
            continue
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "value_error" and (rule := _RULE_OF_SECTIONS.fullmatch(message)):
            path, message = rule[1], rule[2]
        elif item["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
            message = "missing, and without a default"
        elif not isinstance(item["input"], dict) and "found" not in message:
            text = json.dumps(item["input"], default=str)
            found[path] = f"; found {text if len(text) <= 80 else text[:77] + '...'}"
        if item["type"] == "too_short":
            emptied.add(path)
        message = message[0].lower() + message[1:] + _hint(path, item["type"])
        of_path = messages.setdefault(path, [])
        if of_path and message.startswith(_SHOULD_BE):
            message = message.removeprefix(_SHOULD_BE)
        if message not in of_path:
            of_path.append(message)
    for path, said in messages.items():
        if path in emptied and any(other.startswith(f"{path}[") for other in messages):
            continue  # too short only because its faulty items do not count
        yield Fault(path, " or ".join(said) + found.get(path, ""))


def _hint(path: str, kind: str) -> str:
    if path == "resources.time" and kind == "string_type":
        return '; write the time in quotes: "02:00:00"'
    return ""


@cache
def sections() -> dict[str, type]:
    """Name of each section of run.yaml → its class."""
    return {
        name: hint
        for name, hint in get_type_hints(RunConfig).items()
        if dataclasses.is_dataclass(hint) and isinstance(hint, type)
    }


_MAPPINGS = ("environment.env", "resources.sbatch_options")
"""Fields that are mappings with free keys."""


def _field_path(location: tuple[int | str, ...]) -> str:
    """Return the field path as the user wrote it: `resources.nodes`, `environment.setup[1]`.

    Pydantic appends parts of its own (the member of a union, `[key]`), which are dropped.
    """
    if not location:
        return ""
    own, rest = (2 if location[0] in sections() else 1), location
    path = ".".join(str(part) for part in rest[:own])
    for part in rest[own:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif path in _MAPPINGS:
            path += f".{part}"
    return path


def all_field_paths() -> Iterator[str]:
    """Every field path of run.yaml, sections included."""
    for field in dataclasses.fields(RunConfig):
        yield field.name
        if field.name in sections():
            for inner in dataclasses.fields(sections()[field.name]):
                yield f"{field.name}.{inner.name}"


def unknown_key_advice(path: str) -> str:
    """Return the message for an unknown key, with the most similar known key."""
    section, _, key = path.rpartition(".")
    known = list(all_field_paths())
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
    elsewhere = [name for name in known if name.rpartition(".")[2] == key]
    if elsewhere:
        return f"unknown key; did you mean {elsewhere[0]}?"
    leaves = {_plain(name.rpartition(".")[2]): name for name in known}
    beside = {_plain(name): f"{section}.{name}" if section else name for name in siblings}
    leaves |= beside
    for candidates, cutoff in ((beside, 0.85), (leaves, 0.85), (beside, 0.6), (leaves, 0.6)):
        close = difflib.get_close_matches(_plain(key), candidates, n=1, cutoff=cutoff)
        if close:
            return f"unknown key; did you mean {leaves[close[0]]}?"
    return f"unknown key; known keys are {', '.join(sorted(siblings))}"


def _plain(name: str) -> str:
    """Normalise a name: letter case and the kind of dash do not count as mistakes."""
    return name.lower().replace("-", "_")
