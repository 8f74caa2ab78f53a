"""What all config dataclasses share: their strictness, and fields that have one value."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
"""Unknown keys, values of another type, NaN and infinity are errors, never conversions.

A class is built when it is first used: most commands use but one of them.
"""


def one_line(text: Any) -> Any:
    """Refuses what would break a line of a script or a log, or move the cursor of a terminal."""
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in str(text)):
        raise ValueError("control characters and line breaks are not allowed")
    return text


OneLine = Annotated[str, AfterValidator(one_line)]
AnyPath = Annotated[Path, Field(strict=False), AfterValidator(one_line)]
"""A path, or the text of one."""


def only(value: object, reason: str) -> AfterValidator:
    """A field of the contract that can have one value here; any other is refused with `reason`."""

    def check(given: Any) -> Any:
        if given != value:
            raise ValueError(f"{reason}; leave it out, or {value!r}")
        return given

    return AfterValidator(check)
