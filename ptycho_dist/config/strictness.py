"""Shared by all config dataclasses: strict checking, and types of single fields."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
"""Unknown keys, values of another type, NaN and infinity are errors; nothing is converted.

The validators of a class are built when it is first used, since most commands use only a few.
"""


def one_line(text: Any) -> Any:
    """Return a text that fits on one line.

    Raises:
        ValueError: it would break a line of a script or log, or move the cursor of a terminal.
    """
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in str(text)):
        raise ValueError("must not contain control characters or line breaks")
    return text


OneLine = Annotated[str, AfterValidator(one_line)]
AnyPath = Annotated[Path, Field(strict=False), AfterValidator(one_line)]
"""A path, given as `Path` or as text."""


def only(value: object, reason: str) -> AfterValidator:
    """Return a validator for a field that supports one value only; `reason` says why."""

    def check(given: Any) -> Any:
        if given != value:
            raise ValueError(f"{reason}; omit it, or use {value!r}")
        return given

    return AfterValidator(check)
