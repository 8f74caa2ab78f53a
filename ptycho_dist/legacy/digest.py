"""What legacy values are, as text that is the same in every process and on every rank."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ptycho_dist.legacy.errors import LegacyError

ABSENT = "nothing"
KEYS_SHOWN = 8
SHOWN = 80
"""Characters of a value that a message shows."""


def fingerprints(values: Mapping[str, Any], leave_out: Collection[str] = ()) -> dict[str, str]:
    """Canonical JSON of each value, by key.

    Args:
        values: legacy keys and values.
        leave_out: keys that do not count.

    Raises:
        LegacyError: a key that is not text, or a value that has no text of its own (an open file,
            a tensor), which no two processes could compare.
    """
    prints = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise LegacyError(f"the legacy key {key!r} is not text")
        if key in leave_out:
            continue
        try:
            prints[key] = _canonical(_plain(value))
        except (TypeError, RecursionError) as error:
            raise LegacyError(
                f"the legacy value {key!r} cannot be compared between processes: {error}; "
                "declare it a computed key, or take it out"
            ) from None
    return prints


def digest(prints: Mapping[str, str]) -> str:
    """SHA-256 of the canonical JSON of the values whose fingerprints these are."""
    text = ",".join(f"{_canonical(key)}:{prints[key]}" for key in sorted(prints))
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """What differs, for a message: `N: 128 in place of 64; …`; empty: nothing."""
    return listed(
        [
            f"{key}: {shown(found.get(key))} in place of {shown(expected.get(key))}"
            for key in sorted({*expected, *found})
            if expected.get(key) != found.get(key)
        ]
    )


def listed(lines: Sequence[str]) -> str:
    """The first of them in one line, and how many more there are."""
    more = f"; and {len(lines) - KEYS_SHOWN} more" if len(lines) > KEYS_SHOWN else ""
    return "; ".join(lines[:KEYS_SHOWN]) + more


def shown(fingerprint: str | None) -> str:
    """A fingerprint as a message shows it; None is a key that is not there."""
    text = ABSENT if fingerprint is None else fingerprint
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """JSON data for a value; what JSON does not have is tagged with its type."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"!float": repr(float(value))}
    if isinstance(value, complex):
        return {"!complex": [repr(value.real), repr(value.imag)]}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a mapping with keys that are not text")
        return {key: _plain(member) for key, member in value.items()}
    dtype = getattr(value, "dtype", None)
    if dtype is not None and hasattr(value, "tobytes") and not getattr(dtype, "hasobject", True):
        content = hashlib.sha256(value.tobytes()).hexdigest()
        return {"!array": [str(dtype), list(value.shape), content]}
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} is not plain data")
