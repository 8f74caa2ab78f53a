"""The one strictness that every config dataclass shares."""

from __future__ import annotations

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Unknown keys, values of another type, NaN and infinity are errors, never conversions."""
