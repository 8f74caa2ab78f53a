"""Reads the entries of a checkpoint's manifest, which is untrusted JSON."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from ptycho_dist.rundir.checked_json import count


def value_in(manifest: dict[str, Any]) -> float | None:
    """Return the monitored value of a manifest; None: there is no usable one."""
    value = manifest.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def ended_epoch_in(manifest: dict[str, Any]) -> int | None:
    """Return the epoch, counted from 1, that the checkpoint ends; None: it ends none."""
    return count(manifest, "epoch") if manifest.get("ends_epoch") is True else None


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its `checksum`; older manifests have none."""
    entries = {name: entry for name, entry in manifest.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def one_line(found: Any) -> str:
    """Return text for a message: short, printable, without line breaks."""
    text = " ".join(str(found).split())
    return "".join(c if c.isprintable() else "?" for c in text[:500])
