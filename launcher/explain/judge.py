"""Judges the cause from the evidence, by a fixed precedence (specs/run_directory.md, RD-232)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from launcher.explain.causes import BY_NAME, CAUSES, Cause
from launcher.explain.evidence import Evidence
from launcher.explain.first import FirstRank, first_rank, lost_a_peer, tells_of_signal
from launcher.explain.reading import Line, clean
from ptycho_dist.rundir.ledger import LAUNCHER, read_ledger

Confidence = Literal["recorded", "read", "guessed"]
MOST_LINES = 6
LAST_LINES = 8
BEFORE_RANKS = frozenset({"module_not_found", "venv_missing", "setup_failed"})
"""Classes of a script that ends before any rank runs. Later, the same words are harmless."""
NOT_BY_A_RANK = frozenset({"cancelled", "walltime", "preempted", "node_failure"})

_STATES = {
    "NODE_FAIL": "node_failure",
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "PREEMPTED": "preempted",
}
_SAID_BY_SLURM = {
    "node_failure": re.compile(r"CANCELLED AT \S+ DUE TO NODE FAIL|srun: error: Node failure on"),
    "walltime": re.compile(r"CANCELLED AT \S+ DUE TO TIME LIMIT"),
    "preempted": re.compile(r"CANCELLED AT \S+ DUE TO (?:PREEMPTION|JOB REQUEUE)"),
}


@dataclass(frozen=True)
class Verdict:
    """Why an attempt ended."""

    cause: Cause
    confidence: Confidence
    """recorded (by a rank, the batch script or SLURM's accounting), read (in logs), or guessed."""
    lines: tuple[Line, ...] = ()
    first: FirstRank | None = None
    by: str | None = None
    """The user who cancelled it, if it was cancelled."""


def judge(evidence: Evidence) -> Verdict:
    """Why an attempt that is over ended: the first of these that holds (RD-232).

    1. A person asked for it, before any rank failed.
    2. SLURM says why it ended the job.
    3. The batch script recorded the walltime, a preemption, a lost node or a request.
    4. A specific class matches the reason that the first rank recorded, or else its log, the batch
       log or the accounting.
    5. The same for the general classes.
    6. The cause is unknown.
    """
    first = first_rank(evidence)
    verdict = (
        _on_request(evidence, first)
        or _by_slurm(evidence)
        or _as_recorded(evidence)
        or _by_signs(evidence, first)
        or _guess(evidence, first)
    )
    if verdict.first is None and verdict.cause.name not in NOT_BY_A_RANK:
        verdict = replace(verdict, first=first)
    return verdict


def _on_request(evidence: Evidence, first: FirstRank | None) -> Verdict | None:
    """The verdict for an attempt that `cancel` ended, as the launcher recorded in the ledger."""
    record = evidence.record
    for event in read_ledger(evidence.run, writer=LAUNCHER):
        if event["event"] != "cancel_requested" or event.get("job_id") != evidence.job_id:
            continue
        asked = float(event["time"])
        if record is not None and asked < record.started_at:
            continue
        if record is not None and record.end is not None and asked > record.end.ended_at:
            continue
        if first is not None and first.reason is not None and first.reason.time < asked:
            continue  # it had failed before the request
        by = event.get("by")
        by = clean(by) if isinstance(by, str) else None
        line = Line("ledger (launcher)", None, f"cancel_requested by {by or 'an unknown user'}")
        return Verdict(BY_NAME["cancelled"], "recorded", (line,), by=by)
    return None


def _by_slurm(evidence: Evidence) -> Verdict | None:
    """The verdict by SLURM's accounting, or else by its lines in the batch log."""
    if not _is_last_of_its_job(evidence):
        return _said_in_batch_log(evidence)
    for job in evidence.account:
        if "." in job.job_id:
            continue
        line = Line("sacct", None, clean(job.line))
        if job.state in _STATES:
            name = _STATES[job.state]
            lines = (line, *_of_slurm(evidence, name)[: MOST_LINES - 1])
            return Verdict(BY_NAME[name], "recorded", lines)
        if job.state == "CANCELLED" and not evidence.reasons:
            return Verdict(BY_NAME["cancelled"], "recorded", (line,), by=job.ended_by)
    return _said_in_batch_log(evidence)


def _said_in_batch_log(evidence: Evidence) -> Verdict | None:
    for name in _SAID_BY_SLURM:
        lines = _of_slurm(evidence, name)
        if lines:
            return Verdict(BY_NAME[name], "read", tuple(lines[:MOST_LINES]))
    return None


def _of_slurm(evidence: Evidence, name: str) -> list[Line]:
    return [line for line in evidence.batch if _SAID_BY_SLURM[name].search(line.text)]


def _is_last_of_its_job(evidence: Evidence) -> bool:
    """Whether this attempt is the one that the accounting shows: the last start of the job."""
    return not any(
        record.job_id == evidence.job_id and record.number > (evidence.number or 0)
        for record in evidence.records
    )


def _as_recorded(evidence: Evidence) -> Verdict | None:
    """The verdict by the end that the batch script recorded, if that says more than a failure."""
    if evidence.ending is None or not evidence.ending.reason:
        return None
    cause, reason = evidence.ending.cause, evidence.ending.reason
    line = Line(f"attempts/{evidence.number:03d}.json", None, clean(f"ending: {cause}: {reason}"))
    if cause == "timeout":
        return Verdict(BY_NAME["walltime"], "recorded", (line,))
    if cause == "preempt" and reason.startswith("asked to stop"):
        return Verdict(BY_NAME["preempted"], "recorded", (line,))
    if cause == "node_fail" and reason.startswith("node lost"):
        return Verdict(BY_NAME["node_failure"], "recorded", (line,))
    if cause == "cancelled":
        return Verdict(BY_NAME["cancelled"], "recorded", (line,))
    return None


def _by_signs(evidence: Evidence, first: FirstRank | None) -> Verdict | None:
    """The first class of the table that matches, the specific classes before the general ones."""
    own = _lines_of(evidence, first)
    said = [first.reason.line] if first is not None and first.reason is not None else []
    causes = _possible(evidence, first)
    # A general class would hide the reason: "NCCL failed" is true, but "disk full" says why.
    for general in (False, True):
        chosen = [cause for cause in causes if cause.general == general]
        for cause in chosen:
            if any(cause.fits(line.text) for line in said):
                lines = [*said, *(line for line in own if cause.fits(line.text))]
                return _seen(cause, "recorded", lines, first)
        for cause in chosen:
            fitting = [line for line in own if cause.fits(line.text)]
            if fitting:
                certainty: Confidence = "recorded" if fitting[0].file == "sacct" else "read"
                return _seen(cause, certainty, [*said, *fitting], first)
    return None


def _seen(
    cause: Cause, confidence: Confidence, lines: list[Line], first: FirstRank | None
) -> Verdict:
    """The verdict for a class that matches; a guess if it matches by hints alone."""
    sure = any(cause.is_sure(line.text) for line in lines)
    return Verdict(cause, confidence if sure else "guessed", tuple(lines[:MOST_LINES]), first)


def _possible(evidence: Evidence, first: FirstRank | None) -> list[Cause]:
    """The classes that can apply: those of the batch script only if no rank has run."""
    lived = first.rank in evidence.ranks if first is not None else bool(evidence.ranks)
    return [cause for cause in CAUSES if not lived or cause.name not in BEFORE_RANKS]


def _lines_of(evidence: Evidence, first: FirstRank | None) -> list[Line]:
    """The lines that are searched: the log of the first rank, then the batch log and sacct."""
    lines = []
    if first is not None:
        lines += [
            line
            for line in evidence.rank_log(first.rank).telling
            if not lost_a_peer(line.text) or first.reason is not None
        ]
    own_reason = first is not None and first.reason is not None and first.reason.rank == first.rank
    for line in evidence.batch:
        # srun also reports the ranks that it killed afterwards. Its line on a signal counts only if
        # it is about the first rank, and that rank recorded no reason itself.
        of_a_signal = tells_of_signal(line.text)
        if not of_a_signal or (not own_reason and first is not None and first.signal == line):
            lines.append(line)
    if _is_last_of_its_job(evidence):
        lines += [Line("sacct", None, clean(job.line)) for job in evidence.account]
    return lines


def _guess(evidence: Evidence, first: FirstRank | None) -> Verdict:
    """The verdict if no class matches any line: the last lines are shown as evidence."""
    ending = evidence.ending
    if ending is not None and ending.cause == "preempt":
        line = Line(f"attempts/{evidence.number:03d}.json", None, clean(f"ending: {ending.reason}"))
        return Verdict(BY_NAME["preempted"], "guessed", (line,))
    if evidence.record is None and _has_setup(evidence):
        return Verdict(BY_NAME["setup_failed"], "guessed", tuple(evidence.batch[-LAST_LINES:]))
    lines = []
    if first is not None:
        if first.reason is not None:
            lines.append(first.reason.line)
        if first.signal is not None:
            lines.append(first.signal)
        lines += [line for line in evidence.rank_log(first.rank).lines if line.text][-LAST_LINES:]
    else:
        lines += _any_log(evidence)[-LAST_LINES:]
    why = evidence.what_followed
    if why is not None and why.startswith("a crash loop"):
        line = Line(f"attempts/{evidence.number:03d}.json", None, why)
        return Verdict(BY_NAME["crash_loop"], "recorded", (line, *lines), first)
    return Verdict(BY_NAME["unknown"], "guessed", tuple(lines), first)


def _any_log(evidence: Evidence) -> list[Line]:
    """The lines of the batch log, or else of the first rank's log that is not empty."""
    if evidence.batch:
        return evidence.batch
    for rank in evidence.ranks_with_logs[:MOST_LINES]:
        lines = [line for line in evidence.rank_log(rank).lines if line.text]
        if lines:
            return lines
    return []


def _has_setup(evidence: Evidence) -> bool:
    return bool(evidence.run.plan().setup)
