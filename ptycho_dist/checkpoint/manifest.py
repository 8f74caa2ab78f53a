"""What the manifest of a checkpoint says: untrusted JSON, an entry is taken as what it must be."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any


def value_in(manifest: dict[str, Any]) -> float | None:
    """The monitored value that a manifest states; None: none that can be used."""
    value = manifest.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def ended_epoch_in(manifest: dict[str, Any]) -> int | None:
    """The epoch, counted from 1, that a manifest says its checkpoint ends; None: none."""
    return count_in(manifest, "epoch") if manifest.get("ends_epoch") is True else None


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """SHA-256 of what a manifest says, but for this entry; manifests of before have none."""
    said = {name: entry for name, entry in manifest.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def count_in(manifest: dict[str, Any], name: str) -> int | None:
    """A whole number, not negative, that a manifest states; None: none that can be used."""
    count = manifest.get(name)
    return count if type(count) is int and count >= 0 else None


def one_line(found: Any) -> str:
    """Text of a damaged manifest for a message: short, printable, without line breaks."""
    text = " ".join(str(found).split())
    return "".join(c if c.isprintable() else "?" for c in text[:500])
