"""Cleans untrusted text (logs, heartbeats, answers of SLURM) of what would steer a terminal."""

from __future__ import annotations

import re
import sys

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # window titles, clipboard, and other strings
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(
    "[\ud800-\udfff\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def plain(text: str) -> str:
    """Untrusted text on one line, safe to show on a terminal."""
    one_line = " ".join(text.splitlines())
    return _CONTROLS.sub("", _ESCAPES.sub("", one_line))


def plain_line(line: str) -> str:
    """A line of a log, safe to show on a terminal; of a progress bar, only its last state."""
    # A progress bar draws over itself with carriage returns.
    return plain(line.rstrip("\r").rpartition("\r")[2])


def for_stdout(line: str) -> str:
    """A line of a log: unchanged for a file or a pipe, cleaned for a terminal."""
    return plain_line(line) if sys.stdout.isatty() else line
