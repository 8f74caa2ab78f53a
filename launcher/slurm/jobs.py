"""The states of jobs: asked of squeue, then of sacct, and no more often than is good for SLURM."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

from launcher.slurm import sacct, squeue
from launcher.slurm.job_state import JobState
from ptycho_dist.errors import ClusterUnreachable

AFTER_SILENCE_S = 60
"""Seconds for which a SLURM that did not answer is not asked again."""
JOBS_PER_QUESTION = 5000
"""Job ids in one command line: one argument may have 128 KiB on Linux."""
CLOCKS_APART_S = 3600
"""An upper bound on how far the clocks of a login node and of the accounting differ."""
_JOB_ID = re.compile(r"\d{1,12}(_\d{1,9})?")
_FORGOTTEN = JobState("UNKNOWN", "SLURM no longer knows this job", "squeue")


class Scheduler:
    """What SLURM says of jobs, asked at most once in `every_s` seconds about each job.

    A watcher that runs for hours must not load the controller. What the run directory says costs
    SLURM nothing, and is read as often as needed.
    """

    def __init__(self, every_s: float = 0.0) -> None:
        self._every_s = every_s
        self._known: dict[str, tuple[float, JobState | str]] = {}
        self._silent_until, self._silence = float("-inf"), ""

    def job_state(self, job_id: str) -> JobState:
        """The state of a job, from squeue, or else from sacct.

        Raises:
            ClusterUnreachable: neither answers; the message says why.
        """
        valid_until, known = self._known.get(job_id, (float("-inf"), ""))
        if time.monotonic() >= valid_until:
            self.learn([job_id])
            _, known = self._known[job_id]
        if isinstance(known, str):
            raise ClusterUnreachable(known)
        return known

    def learn(self, job_ids: Iterable[str]) -> None:
        """Ask about many jobs at once: squeue, then sacct for those that squeue does not know."""
        now = time.monotonic()
        questions: dict[str, list[str]] = {}
        for job_id in dict.fromkeys(job_ids):
            if job_id not in self._known or now >= self._known[job_id][0]:
                questions.setdefault(job_id.partition("_")[0], []).append(job_id)
        groups = list(questions.values())
        for first in range(0, len(groups), JOBS_PER_QUESTION):
            some = [
                job_id for group in groups[first : first + JOBS_PER_QUESTION] for job_id in group
            ]
            answers = _job_states(some)
            # A command that asks once may try again at once; a watcher waits.
            silent = self._every_s and any(isinstance(each, str) for each in answers.values())
            until = time.monotonic() + (AFTER_SILENCE_S if silent else self._every_s)
            self._known |= {job_id: (until, answers[job_id]) for job_id in some}

    def jobs_with_comment(self, comment: str, since: float) -> list[str]:
        """The ids of this user's jobs that carry a comment, newest last.

        A job array has one id, that of the array.

        Args:
            comment: the comment that the script gave the job.
            since: a time before which no such job was submitted; seconds since the epoch.

        Raises:
            ClusterUnreachable: squeue does not answer, so there may be such a job.
        """
        if time.monotonic() < self._silent_until:
            raise ClusterUnreachable(self._silence)
        pairs, silence = squeue.ask_comments()
        if silence:
            self._silence = f"SLURM does not say: {silence}"
            if self._every_s:  # a command that asks for many jobs waits for one time-out
                self._silent_until = time.monotonic() + AFTER_SILENCE_S
            raise ClusterUnreachable(self._silence)
        # Without accounting, or if it keeps no comments, squeue's word stands.
        return _with_comment(pairs, comment) or _with_comment(
            sacct.ask_comments(since - CLOCKS_APART_S), comment
        )


def comment_of(name: str) -> str:
    """The comment by which SLURM keeps the job of a run, and by which it is found again."""
    return f"ptycho-dist:{name}"


def _with_comment(pairs: Sequence[tuple[str, str]], comment: str) -> list[str]:
    found = {job_id.partition("_")[0] for job_id, said in pairs if said == comment}
    return sorted((job_id for job_id in found if job_id.isdecimal()), key=int)


def _job_states(job_ids: list[str]) -> dict[str, JobState | str]:
    """The state of each job, or why it is unknown."""
    asked = [job_id for job_id in job_ids if _JOB_ID.fullmatch(job_id)]
    states, silence = squeue.ask_states(asked)
    rest = [job_id for job_id in asked if job_id not in states]
    if rest:
        accounted, no_sacct = sacct.ask_states(rest)
        states = accounted | states
        if silence:  # accounting alone may lag behind: unknown there does not mean gone
            silence = f"SLURM does not say: {silence}; {no_sacct or 'sacct has no such job'}"
    unknown: JobState | str = silence or _FORGOTTEN
    strange = {job_id: f"{job_id!r} is no job id of SLURM" for job_id in {*job_ids} - {*asked}}
    return dict.fromkeys(asked, unknown) | strange | states
