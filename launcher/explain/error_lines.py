"""What `logs --errors` prints: the verdict of `explain`, with the lines of the logs behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher.explain.causes import CAUSES
from launcher.explain.evidence import MOST_LOGS, SHORT_TAIL_BYTES, Evidence
from launcher.explain.explain import Explanation, examine
from launcher.explain.first import lost_a_peer
from launcher.explain.reading import Line, Log
from launcher.slurm.jobs import Scheduler
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

LINES_BEFORE = 5
LINES_AFTER = 25
LAST_LINES = 10
"""Shown if no line of a log tells of a failure, for example because a signal ended the rank."""
ASK_SCHEDULER_S = 60.0
"""One answer of the scheduler serves all attempts of one command."""


def error_lines(run: RunDirectory, attempts: Sequence[int], rank: int | None) -> Iterator[str]:
    """What went wrong in some attempts: the cause, the rank that failed first, and the logs.

    Args:
        run: directory of the run.
        attempts: numbers of the attempts; empty: the latest one, or the job that made none.
        rank: the only rank whose log is shown; None: all ranks.

    Raises:
        UserError: a record of the run is damaged, or the rank has no log in an attempt.
    """
    scheduler = Scheduler(ASK_SCHEDULER_S)
    numbers: list[int | None] = [*attempts] or [None]
    for number in numbers:
        evidence, explanation = examine(run, number, scheduler)
        if rank is not None and rank not in evidence.ranks_with_logs:
            raise UserError(
                f"{run.run_id} has no log of rank {rank} yet; see: ptycho-launch status"
            )
        of = "" if explanation.attempt is None else f"attempt {explanation.attempt}: "
        yield f"== {of}{explanation.headline} =="
        yield from _first(evidence, explanation, rank)
        yield from _others(evidence, explanation, rank)


def _first(evidence: Evidence, explanation: Explanation, rank: int | None) -> Iterator[str]:
    """The evidence, and the log of the rank that failed first."""
    first = explanation.first_rank
    if first is not None:
        yield f"-- first: rank {first}: {explanation.how}"
    own = None if first is None else _log_name(evidence, first)
    for line in explanation.evidence:
        if line.file != own or rank not in (None, first):  # else the log itself follows
            yield f"[{line.where}] {line.text}"
    if first is not None and rank in (None, first):
        log = evidence.rank_log(first)
        seen = next((line for line in explanation.evidence if line.file == own), None)
        yield from (f"[rank {first}] {line.text}" for line in _around(log, seen or _telling(log)))


def _others(evidence: Evidence, explanation: Explanation, rank: int | None) -> Iterator[str]:
    """One line for each other rank: its recorded reason, or the first telling line of its log."""
    first = explanation.first_rank is not None
    recorded = {reason.rank: reason.text for reason in reversed(evidence.reasons) if reason.text}
    found = []
    for other in evidence.ranks_with_logs[:MOST_LOGS]:
        if other == explanation.first_rank or rank not in (None, other):
            continue
        line = _telling(evidence.rank_log(other, SHORT_TAIL_BYTES))
        text = recorded.get(other) or ("" if line is None else line.text)
        if text:
            found.append(f"[rank {other}] {text}")
    if found:
        yield f"-- other ranks: {len(found)}" if first else f"-- ranks: {len(found)}"
        yield from found
    elif not first:
        yield "no line of a rank's log tells of a failure"


def _telling(log: Log) -> Line | None:
    return next((line for line in log.telling if tells_of_failure(line.text)), None)


def tells_of_failure(text: str) -> bool:
    """Whether a line matches a known cause, or says that another rank is gone."""
    return lost_a_peer(text) or any(cause.fits(text) for cause in CAUSES)


def _around(log: Log, found: Line | None) -> Sequence[Line]:
    """The lines around the one that was found, or the last lines of the log."""
    lines = [line for line in log.lines if line.text]
    if found is None or found not in lines:
        return lines[-LAST_LINES:]
    place = lines.index(found)
    begin = place
    while begin > 0 and _within_traceback(lines[begin - 1].text):
        begin -= 1
    return lines[max(0, begin - LINES_BEFORE) : place + LINES_AFTER + 1]


def _within_traceback(text: str) -> bool:
    """Whether a line above an exception belongs to its traceback."""
    return text.startswith((" ", "Traceback (most recent call last)"))


def _log_name(evidence: Evidence, rank: int) -> str | None:
    if evidence.number is None:
        return None
    return str(evidence.run.rank_log(evidence.number, rank).relative_to(evidence.run.path))
