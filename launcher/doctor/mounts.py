"""Which mount holds a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    source: str
    """Device or server."""
    point: Path
    """Directory at which it is mounted."""
    kind: str
    """`ext4`, `nfs4`, `lustre` ..."""


def mount_of(path: Path, mounts: str | None = None) -> Mount | None:
    """The mount that holds a path; None: it is unknown.

    Args:
        path: absolute, without symlinks.
        mounts: the text of /proc/self/mounts; None: read it.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text("utf-8", errors="replace")
        except OSError:
            return None
    best: Mount | None = None
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        point = Path(words[1].replace("\\040", " "))
        # Of two mounts at the same point, the later one hides the earlier one.
        longer = best is None or len(point.parts) >= len(best.point.parts)
        if longer and path.is_relative_to(point):
            best = Mount(source=words[0], point=point, kind=words[2])
    return best
