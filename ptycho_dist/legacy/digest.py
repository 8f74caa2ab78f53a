"""Fingerprints of legacy values: text that is equal in every process and on every rank."""

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
"""Number of characters of a value that a message shows."""


def fingerprints(values: Mapping[str, Any], leave_out: Collection[str] = ()) -> dict[str, str]:
    """Return the canonical JSON of each value, by key.

    Args:
        values: Legacy keys and values.
        leave_out: Keys to ignore.

    Raises:
        LegacyError: A key is not text, or a value (an open file, a tensor) cannot be written as
            text, so that two processes cannot compare it.
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
                "declare it a computed key, or remove it"
            ) from None
    return prints


def digest(prints: Mapping[str, str]) -> str:
    """Return the SHA-256 of the canonical JSON of the values with these fingerprints."""
    text = ",".join(f"{_canonical(key)}:{prints[key]}" for key in sorted(prints))
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Describe the differences as `N: 128 in place of 64; …`; empty if there are none."""
    return listed(
        [
            f"{key}: {shown(found.get(key))} in place of {shown(expected.get(key))}"
            for key in sorted({*expected, *found})
            if expected.get(key) != found.get(key)
        ]
    )


def listed(lines: Sequence[str]) -> str:
    """Join the first lines into one and say how many more there are."""
    more = f"; and {len(lines) - KEYS_SHOWN} more" if len(lines) > KEYS_SHOWN else ""
    return "; ".join(lines[:KEYS_SHOWN]) + more


def shown(fingerprint: str | None) -> str:
    """Shorten a fingerprint for a message; None stands for an absent key."""
    text = ABSENT if fingerprint is None else fingerprint
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """Convert a value to JSON data; a type that JSON lacks is tagged with its name."""
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
