"""Times and amounts as SLURM writes them. Pure; any text is accepted."""

from __future__ import annotations

import re

from ptycho_dist.config.resources import walltime_seconds


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


def memory_text(megabytes: int) -> str:
    """An amount in megabytes, as `resources.mem_per_node` accepts it."""
    if megabytes > 0 and megabytes % 1024 == 0:
        return f"{megabytes // 1024}G"
    return f"{megabytes}M"


def whole(text: str) -> int | None:
    """The number at the beginning of a text (`250+`); None if it begins with no digit."""
    match = re.match(r"\d{1,15}", text.strip(), re.ASCII)
    return None if match is None else int(match[0])
