"""Splits a batch log by attempts: one log holds all starts of a job, or of the local cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence

from launcher.explain.reading import Line

_END_OF_ATTEMPT = re.compile(r"^attempt (\d{1,9}): ")
_TAKEN_AWAY = re.compile(r"JOB \S+ ON \S+ CANCELLED AT \S+ DUE TO (?:JOB REQUEUE|PREEMPTION|NODE)")
_LOCAL_RESTART = re.compile(r"^restart \d+ of \d+ after ")


def of_slurm(lines: Sequence[Line], number: int, starts: Sequence[int]) -> list[Line]:
    """The lines of one attempt in the log of a job.

    The script prints `attempt N: …` at its end. If SLURM took the job away before that, a line of
    slurmstepd stands there instead.

    Args:
        lines: the lines of the log.
        number: the number of the attempt.
        starts: the numbers of all attempts of the job.
    """
    begin, end, ended_before = 0, len(lines), 0
    for index, line in enumerate(lines):
        match = _END_OF_ATTEMPT.match(line.text)
        if match is None:
            continue
        if int(match[1]) >= number:
            end = index + 1
            break
        begin, ended_before = index + 1, int(match[1])
    part = list(lines[begin:end])
    # Every earlier start that printed no end was taken away by SLURM: skip the lines of each.
    for _ in [start for start in starts if ended_before < start < number]:
        taken = _taken(part)
        part = part[taken[0] + 1 :] if taken else part
    says_its_end = bool(part) and part[-1].text.startswith(f"attempt {number}: ")
    taken = _taken(part)
    if not says_its_end and taken and any(start > number for start in starts):
        part = part[: taken[0] + 1]
    return part


def of_local_cluster(lines: Sequence[Line], restarts_after: int) -> list[Line]:
    """The lines of one attempt in the log of the local cluster, which logs each restart.

    Args:
        lines: the lines of the log.
        restarts_after: how many automatic restarts came after this attempt.
    """
    parts: list[list[Line]] = [[]]
    for line in lines:
        if _LOCAL_RESTART.match(line.text):
            parts.append([])
        parts[-1].append(line)
    return parts[-1 - restarts_after] if restarts_after < len(parts) else parts[0]


def _taken(lines: Sequence[Line]) -> list[int]:
    return [index for index, line in enumerate(lines) if _TAKEN_AWAY.search(line.text)]
