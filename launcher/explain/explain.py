"""Why a run ended: the cause, the rank that failed first, the evidence, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.explain.advice import advice_for
from launcher.explain.causes import BY_NAME
from launcher.explain.evidence import Evidence, gather
from launcher.explain.judge import Confidence, Verdict, judge
from launcher.explain.reading import Line, clean
from launcher.slurm.jobs import Scheduler
from launcher.status.next_command import reference_to
from launcher.status.run_status import RunStatus, status_of
from launcher.text.counted import listed
from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.rundir.layout import RunDirectory

FORMAT = 1
_CERTAINTY = {"recorded": "recorded", "read": "read from logs", "guessed": "a guess"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an attempt of a run ended; stable as JSON (RD-236)."""

    run_id: str
    path: str
    state: str
    """State of the run, as `status` shows it."""
    attempt: int | None
    """Number of the attempt that is explained; None: none began."""
    attempts: int
    """How many attempts the run has had."""
    cause: str
    """The name of a class of `launcher.explain.causes`."""
    title: str
    summary: str
    """The cause in one line, with the rank or node."""
    confidence: Confidence
    first_rank: int | None = None
    node: str | None = None
    how: str | None = None
    """How the first rank was found, in words."""
    step: int | None = None
    """The last step that this rank recorded."""
    together: tuple[int, ...] = ()
    """All ranks that recorded the same reason, including the first one."""
    followers: tuple[int, ...] = ()
    """Ranks that failed only because the first one was gone."""
    evidence: tuple[Line, ...] = ()
    advice: tuple[str, ...]
    exit_code: int | None = None
    restarts: bool = False
    """Whether the policy of restarts decided to start the run again."""
    what_followed: str | None = None
    """Why it decided so, in words; None: it has recorded no decision."""

    @property
    def failed(self) -> bool:
        """Whether there is something to explain."""
        return self.cause != "not_failed"

    @property
    def headline(self) -> str:
        """The cause in one line, with how certain it is; `logs --errors` begins with it too."""
        return f"{self.cause}: {self.summary} ({_CERTAINTY[self.confidence]})"

    def to_json(self) -> dict[str, Any]:
        """Plain data for `explain --json`."""
        entries = {name: value for name, value in vars(self).items() if name != "restarts"}
        return {
            "format": FORMAT,
            **entries,
            "together": list(self.together),
            "followers": list(self.followers),
            "evidence": [
                {"file": line.file, "line": line.number, "text": line.text}
                for line in self.evidence
            ],
            "advice": list(self.advice),
        }


def explain(
    run: RunDirectory, attempt: int | None = None, scheduler: Scheduler | None = None
) -> Explanation:
    """Explain an attempt that is over, or say that there is nothing to explain.

    Args:
        run: directory of the run.
        attempt: number of the attempt; None: the latest one.
        scheduler: answers questions about jobs; None: ask SLURM now.

    Raises:
        UserError: there is no such attempt, or a record of the run directory is damaged.
    """
    return examine(run, attempt, scheduler)[1]


def examine(
    run: RunDirectory, attempt: int | None = None, scheduler: Scheduler | None = None
) -> tuple[Evidence, Explanation]:
    """Like `explain`, but return the evidence as well."""
    read_attempts(run)  # a damaged record is reported before anything is built on it
    status = status_of(run, scheduler)
    evidence = gather(run, attempt, status.job_id)
    judged = status.over and status.state != "finished"
    if attempt is not None and evidence.record is not None:
        last = attempt == evidence.records[-1].number
        judged = judged or not last or evidence.record.end is not None
    finished = evidence.ending is not None and evidence.ending.cause == "finished"
    if judged and not finished:
        return evidence, _explained(status, evidence, judge(evidence))
    if status.state == "unknown":
        # Nobody says whether the run is over, but its logs may show beyond doubt why it ended.
        verdict = judge(evidence)
        if verdict.confidence != "guessed":
            return evidence, _explained(status, evidence, verdict)
    return evidence, _nothing_to_explain(status, evidence)


def _nothing_to_explain(status: RunStatus, evidence: Evidence) -> Explanation:
    before = [record.number for record in evidence.records if record.end is not None]
    run = reference_to(Path(status.path))
    advice = advice_for("not_failed", run=run)
    if (status.state != "finished" and before) or len(before) > 1:
        number = before[-2 if status.state == "finished" else -1]
        advice = (
            *advice,
            f"to see how attempt {number} ended: `ptycho-launch explain {run} --attempt {number}`",
        )
    cause = BY_NAME["not_failed"]
    unknown = status.state == "unknown"
    return Explanation(
        run_id=status.run_id,
        path=status.path,
        state=status.state,
        attempt=evidence.number,
        attempts=len(evidence.records),
        cause=cause.name,
        title="it is unknown whether the run is over" if unknown else cause.title,
        summary=clean(f"{status.state}: {status.cause}"),
        confidence="guessed" if unknown else "recorded",
        advice=advice,
    )


def _explained(status: RunStatus, evidence: Evidence, verdict: Verdict) -> Explanation:
    first = verdict.first
    node = first.node if first is not None else _lost_node(evidence, verdict)
    rank = first.rank if first is not None else None
    known = {"run": reference_to(Path(status.path))}
    if node is not None:
        known["node"] = clean(node)
    if rank is not None:
        known["rank"] = str(rank)
    trace = evidence.ranks.get(rank) if rank is not None else None
    end = None if evidence.record is None else evidence.record.end
    return Explanation(
        run_id=status.run_id,
        path=status.path,
        state=status.state,
        attempt=evidence.number,
        attempts=len(evidence.records),
        cause=verdict.cause.name,
        title=verdict.cause.title,
        summary=_summary(verdict, node),
        confidence=verdict.confidence,
        first_rank=rank,
        node=None if node is None else clean(node),
        how=None if first is None else first.how,
        step=None if trace is None else trace.step,
        together=() if first is None else first.together,
        followers=() if first is None else first.followers,
        evidence=verdict.lines,
        advice=advice_for(verdict.cause.name, **known),
        exit_code=None if end is None else end.exit_code,
        restarts=evidence.restarts,
        what_followed=evidence.what_followed,
    )


def _lost_node(evidence: Evidence, verdict: Verdict) -> str | None:
    for line in verdict.lines:
        named = re.search(r"Node failure on ([\w.-]+)", line.text)
        if named:
            return named[1]
    return None if evidence.ending is None else evidence.ending.node


def _summary(verdict: Verdict, node: str | None) -> str:
    if verdict.cause.name == "cancelled":
        by = f" by {verdict.by}" if verdict.by else " (by cancel, scancel or a signal)"
        return f"{verdict.cause.title}{by}"
    if verdict.first is None:
        return verdict.cause.title + (f": {clean(node)}" if node else "")
    if len(verdict.first.together) > 1:
        return f"{verdict.cause.title}; {named_ranks(verdict.first.together)} ended together"
    where = f" on {clean(node)}" if node else ""
    return f"{verdict.cause.title}; rank {verdict.first.rank}{where} failed first"


def named_ranks(ranks: tuple[int, ...]) -> str:
    """`rank 3`, `ranks 0, 1 and 2`."""
    noun = "rank" if len(ranks) == 1 else "ranks"
    return f"{noun} {listed([str(rank) for rank in ranks])}"
