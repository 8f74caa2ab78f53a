"""What SLURM's accounting knows of a job that is over: bounded in time, parsed in one place."""

from __future__ import annotations

import pwd
import re
import subprocess
from dataclasses import dataclass

TIMEOUT_S = 10
_FIELDS = "JobID,State,ExitCode,NodeList"


@dataclass(frozen=True)
class Accounted:
    """One line of sacct: a job, or a step of it."""

    job_id: str
    """`12`, `12.batch`, `12.0`."""
    state: str
    """`FAILED`, `OUT_OF_MEMORY`, `CANCELLED` ..."""
    ended_by: str | None
    """Who cancelled it: a user's name, or the number where there is no name."""
    exit_code: str
    """`1:0`: exit code and signal."""
    nodes: str

    @property
    def line(self) -> str:
        """As evidence."""
        by = f" by {self.ended_by}" if self.ended_by else ""
        return f"{self.job_id} {self.state}{by} exit {self.exit_code} on {self.nodes}"


def accounted(job_id: str) -> list[Accounted]:
    """The job and its steps, as sacct tells; nothing where a site has no accounting, or it does
    not answer."""
    if re.fullmatch(r"\d+(_\d+)?", job_id) is None:
        return []
    command = ["sacct", "--noheader", "--parsable2", f"--format={_FIELDS}", f"--jobs={job_id}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_sacct(done.stdout) if done.returncode == 0 else []


def parse_sacct(text: str) -> list[Accounted]:
    """The lines of `sacct --parsable2`; what is none of them is left out."""
    found = []
    for line in text.splitlines():
        words = line.split("|")
        if len(words) < len(_FIELDS.split(",")):
            continue
        job_id, told, exit_code, nodes = words[:4]
        state, _, rest = told.partition(" ")  # `CANCELLED by 1000`
        user = re.fullmatch(r"by (\d{1,10})", rest)
        found.append(
            Accounted(job_id, state, _user_name(int(user[1])) if user else None, exit_code, nodes)
        )
    return found


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return f"user {number}"
