"""Times and amounts as SLURM writes them. Pure; any text is accepted."""

from __future__ import annotations

import re

from ptycho_dist.config.resources import walltime_seconds

_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_LARGEST = 10**15


def duration_s(text: str) -> int | None:
    """Seconds of a SLURM time; None for UNLIMITED, NONE, an empty text, or no time at all."""
    try:
        return walltime_seconds(text)
    except ValueError:
        return None


def duration_text(seconds: int) -> str:
    """A SLURM time for a number of seconds: `1-12:00:00`."""
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def memory_mb(text: str) -> int | None:
    """Megabytes of `200G`, `4096`, `1.5T` or `10Gn`; None if the text is no amount."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([KMGTP])?[a-z]?", text.strip(), re.ASCII)
    if match is None:
        return None
    return min(_LARGEST, int(float(match[1]) * _UNITS[match[2] or "M"]))


def memory_text(megabytes: int) -> str:
    """An amount in megabytes, as `resources.mem_per_node` accepts it."""
    if megabytes > 0 and megabytes % 1024 == 0:
        return f"{megabytes // 1024}G"
    return f"{megabytes}M"


def whole(text: str) -> int | None:
    """The number at the beginning of a text (`250+`); None if it begins with no digit."""
    match = re.match(r"\d{1,15}", text.strip(), re.ASCII)
    return None if match is None else int(match[0])
