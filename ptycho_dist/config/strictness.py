"""What all config dataclasses share: their strictness, and fields that have one value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
"""Unknown keys, values of another type, NaN and infinity are errors, never conversions.

A class is built when it is first used: most commands use but one of them.
"""

AnyPath = Annotated[Path, Field(strict=False)]
"""A path, or the text of one."""


def only(value: object, reason: str) -> AfterValidator:
    """A field of the contract that can have one value here; any other is refused with `reason`."""

    def check(given: Any) -> Any:
        if given != value:
            raise ValueError(f"{reason}; leave it out, or {value!r}")
        return given

    return AfterValidator(check)
