"""`sacct`: what SLURM's accounting knows of jobs, also long after they are over."""

from __future__ import annotations

import os
import pwd
import re
import time
from dataclasses import dataclass

from launcher.slurm.job_state import JobState, jobs_option
from ptycho_dist.attempts.bounded_command import run_command
from ptycho_dist.attempts.slurm_job import slurm_time

TIMEOUT_S = 10
_COLUMNS = "JobID,State,ExitCode,NodeList,Start,Comment"
_NEEDED = 4
"""A line with fewer cells is no line of sacct."""


@dataclass(frozen=True)
class Accounted:
    """One line of sacct: a job, or a step of a job."""

    job_id: str
    """`12`, `12.batch`, `12.0`."""
    state: str
    """`FAILED`, `OUT_OF_MEMORY`, `CANCELLED` ..."""
    remark: str
    """What sacct adds to the state: `by 1000`."""
    exit_code: str
    """`1:0`: exit code and signal."""
    nodes: str
    starts_at: float | None = None
    """When it started; seconds since the epoch; None: it has not."""
    comment: str = ""

    @property
    def ended_by(self) -> str | None:
        """Who cancelled it: the name of a user, or the number if there is no name."""
        user = re.fullmatch(r"by (\d{1,10})", self.remark)
        return None if user is None else _user_name(int(user[1]))

    @property
    def line(self) -> str:
        """The line as evidence for people."""
        by = f" by {self.ended_by}" if self.ended_by else ""
        return f"{self.job_id} {self.state}{by} exit {self.exit_code} on {self.nodes}"


def accounted(job_id: str) -> list[Accounted]:
    """The job and its steps; empty if the site has no accounting, or sacct does not answer."""
    if re.fullmatch(r"\d+(_\d+)?", job_id) is None:
        return []
    return _sacct(f"--jobs={job_id}")[0]


def ask_states(job_ids: list[str]) -> tuple[dict[str, JobState], str]:
    """The states of the jobs that sacct knows; and why it said nothing, or an empty text."""
    jobs, silence = _sacct("-X", jobs_option(job_ids))
    states = {
        job.job_id: JobState(job.state or "UNKNOWN", job.remark, "sacct", job.starts_at)
        for job in jobs
    }
    return states, silence


def ask_comments(since: float) -> list[tuple[str, str]]:
    """Job id and comment of each job of this user; empty without accounting.

    Args:
        since: leave out jobs that ended before; seconds since the epoch.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    jobs, _ = _sacct("-X", f"--user={os.getuid()}", f"--starttime={start}")
    return [(job.job_id, job.comment) for job in jobs]


def parse_sacct(text: str) -> list[Accounted]:
    """The lines of `sacct --parsable2` with our columns, of which the last two may be missing."""
    found = []
    for line in text.splitlines():
        cells = line.split("|", _COLUMNS.count(","))
        if len(cells) < _NEEDED:
            continue
        job_id, state, exit_code, nodes, start, comment = [*cells, "", ""][:6]
        word, _, remark = state.partition(" ")  # `CANCELLED by 1000`
        started = slurm_time(start)
        found.append(Accounted(job_id, word, remark, exit_code, nodes, started, comment.strip()))
    return found


def _sacct(*options: str) -> tuple[list[Accounted], str]:
    """What sacct prints; and why it printed nothing, or an empty text."""
    command = ["sacct", "--noheader", "--parsable2", f"--format={_COLUMNS}", *options]
    answer = run_command(command, TIMEOUT_S)
    return ([], answer.trouble) if answer.trouble else (parse_sacct(answer.text), "")


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return f"user {number}"
