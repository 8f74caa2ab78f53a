"""Flags that set a field of a config; type, choices and help are derived from the field."""

from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ptycho_dist.config.faults import sections
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.load import FRONT_END_DEFAULTS

_OF_THE_FIELD = object()


@dataclass(frozen=True)
class Flag:
    """A flag and the field that it sets.

    Attributes:
        name: Name of the flag, such as `--learning-rate`.
        path: Path of the field, such as `execution.learning_rate`.
        default: Default of the command; without one, that of the front end, else of the field.
        note: Meaning of the command's own default, for the help text.
    """

    name: str
    path: str
    default: Any = _OF_THE_FIELD
    note: str = ""

    @property
    def key(self) -> str:
        """Name of the parsed value in the options."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def resolved_default(self) -> Any:
        """Value that applies if the flag is not given."""
        if self.default is not _OF_THE_FIELD:
            return self.default
        default = field_of(self.path).default
        if self.path in FRONT_END_DEFAULTS:
            default = FRONT_END_DEFAULTS[self.path]
        return None if default is dataclasses.MISSING else default


def add_flags(parser: argparse._ActionsContainer, flags: Sequence[Flag]) -> None:
    """Add flags to a parser; each help text ends with the default."""
    for flag in flags:
        kinds, choices = _kinds(flag.path)
        default = flag.resolved_default
        options: dict[str, Any] = {"dest": flag.key, "default": default}
        if bool in kinds:
            options["action"] = argparse.BooleanOptionalAction
        elif choices and not kinds:
            options |= {"choices": choices, "type": type(choices[0])}
        else:
            options["type"] = _Reader(kinds, choices)
            options["metavar"] = {int: "N", float: "X"}.get(kinds[0], "TEXT")
        shown = flag.note or ("none" if default is None else str(default))
        meaning = meaning_of(*_owner(flag.path)).rstrip(".").replace("%", "%%")
        help_text = f"{meaning} [{flag.path}] (default: {shown})"
        parser.add_argument(flag.name, help=help_text, **options)


def given_flags(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> set[str]:
    """Return the dests of the flags that a person typed, whatever their values."""
    bare = copy.deepcopy(parser)
    for action in bare._actions:
        action.default = argparse.SUPPRESS
    return set(vars(bare.parse_args(arguments)))


@cache
def field_of(path: str) -> dataclasses.Field[Any]:
    """Return the dataclass field for a path such as `execution.learning_rate`."""
    owner, name = _owner(path)
    return next(field for field in dataclasses.fields(owner) if field.name == name)


def meaning_of(owner: type, name: str) -> str:
    """Return the description of a field of a config class."""
    hint = get_type_hints(owner, include_extras=True)[name]
    return next((d for a in get_args(hint)[1:] if (d := getattr(a, "description", None))), "")


def _owner(path: str) -> tuple[type, str]:
    section, _, name = path.rpartition(".")
    return (InferenceConfig if section == "inference" else sections()[section]), name


def _kinds(path: str) -> tuple[list[type], list[Any]]:
    """Plain types and Literal values that a field may have."""
    kinds: list[type] = []
    choices: list[Any] = []

    def walk(hint: Any) -> None:
        if get_origin(hint) is Literal:
            choices.extend(get_args(hint))
        elif isinstance(hint, type) and hint is not type(None):
            kinds.append(hint)
        elif hasattr(hint, "__metadata__"):  # Annotated
            walk(get_args(hint)[0])
        else:
            for inner in get_args(hint):
                walk(inner)

    owner, name = _owner(path)
    walk(get_type_hints(owner, include_extras=True)[name])
    return kinds, choices


class _Reader:
    """argparse's `type`: a number, or one of the words that the field also allows."""

    def __init__(self, kinds: Sequence[type], choices: Sequence[Any]) -> None:
        self._kinds = kinds
        self._words = {str(choice): choice for choice in choices}

    def __call__(self, text: str) -> Any:
        if text in self._words:
            return self._words[text]
        try:
            return self._kinds[0](text)
        except ValueError:
            words = "".join(f" or {word}" for word in self._words)
            kind = {int: "a whole number", float: "a number"}.get(self._kinds[0], "a text")
            raise argparse.ArgumentTypeError(f"{text!r}: {kind}{words} is expected") from None
