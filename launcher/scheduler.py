"""SLURM's own commands: each call typed, bounded in time, its output parsed in one place."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptycho_dist.errors import ClusterUnreachable

TIMEOUT_S = 20
CLOCKS_APART_S = 3600
"""More than the clocks of a login node and of the accounting will differ."""
SETTINGS_TIMEOUT_S = 5
"""For what a plan is the better for, and can do without."""
DEFAULT_MAX_ARRAY_SIZE = 1001

ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)

_QUEUED = ("--array", "--noheader", "--states=all", "--format=%i|%T|%r")


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job."""

    state: str
    """`PENDING`, `RUNNING`, `COMPLETED` ...; `UNKNOWN` where SLURM has forgotten the job."""
    reason: str
    said_by: str
    """Which command said so."""

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.state in ENDED


_FORGOTTEN = JobState("UNKNOWN", "SLURM no longer knows this job", "squeue")


def require_slurm() -> None:
    """Check that a SLURM answers from here.

    Raises:
        ClusterUnreachable: its commands are not installed, or its controller does not answer.
    """
    for command in ("sbatch", "srun", "scontrol"):
        if shutil.which(command) is None:
            raise ClusterUnreachable(
                f"no SLURM here: {command} is not on PATH; load the site's module, "
                "or run on this machine with --cluster local"
            )
    answer = _call(["scontrol", "ping"])
    if answer is None or " UP" not in answer.stdout:
        said = "no answer" if answer is None else _first_line(answer.stdout + answer.stderr)
        raise ClusterUnreachable(
            f"SLURM's controller does not answer (scontrol ping: {said}); is SLURM_CONF right? "
            "--cluster local runs on this machine"
        )


class Scheduler:
    """What SLURM says of jobs, asked no oftener than every `every_s` seconds per job.

    A watcher that runs for hours must not load the controller; what the run directory says is
    read as often as one likes.
    """

    def __init__(self, every_s: float = 0.0) -> None:
        self._every_s = every_s
        self._known: dict[str, tuple[float, JobState]] = {}
        self._silent_since = float("-inf")

    def job_state(self, job_id: str) -> JobState:
        """The state of a job, from squeue or sacct, whichever knows it.

        Raises:
            ClusterUnreachable: no command answers at all.
        """
        asked, known = self._known.get(job_id, (float("-inf"), None))
        if known is None or time.monotonic() - asked >= self._every_s:
            if time.monotonic() - self._silent_since < TIMEOUT_S:  # not again for each of many
                raise ClusterUnreachable("SLURM does not answer")
            known = _job_state(job_id)
            self._known[job_id] = (time.monotonic(), known)
        return known

    def learn_all_of_mine(self) -> None:
        """Ask squeue once for all jobs of this user, before many runs are listed."""
        answer = _call(
            ["squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i|%T|%r"]
        )
        if answer is None or answer.returncode != 0:
            return
        for line in answer.stdout.splitlines():
            job_id, state, reason = [*line.strip().split("|", 2), "", ""][:3]
            self._known[job_id] = (time.monotonic(), _queued(state, reason))

    def learn(self, job_ids: Sequence[str]) -> None:
        """Ask at once for many jobs, such as the members of an array."""
        now = time.monotonic()
        wanted = {
            job_id
            for job_id in job_ids
            if job_id not in self._known or now - self._known[job_id][0] >= self._every_s
        }
        if not wanted:
            return
        jobs = ",".join(sorted({job_id.partition("_")[0] for job_id in wanted}))
        answer = _call(["squeue", *_QUEUED, f"--jobs={jobs}"])
        reachable = answer is not None and (
            answer.returncode == 0 or "Invalid job id" in answer.stderr
        )
        if answer is not None and answer.returncode == 0:
            wanted -= self._take(answer.stdout, wanted, "squeue", now)
        if wanted:
            answer = _call(
                ["sacct", "--noheader", "--parsable2", "-X", "--format=JobID,State",
                 f"--jobs={jobs}"]
            )  # fmt: skip
            if answer is not None and answer.returncode == 0:
                wanted -= self._take(answer.stdout, wanted, "sacct", now)
        if reachable:
            self._known |= dict.fromkeys(wanted, (now, _FORGOTTEN))
        elif wanted:
            self._silent_since = now

    def _take(self, lines: str, wanted: set[str], said_by: str, now: float) -> set[str]:
        """Note what is said of the jobs that are wanted; returns those."""
        found = set()
        for line in lines.splitlines():
            job_id, state, reason = [*line.strip().split("|", 2), "", ""][:3]
            word, _, rest = state.partition(" ")  # `CANCELLED by 1000` in sacct
            if job_id in wanted and word:
                self._known[job_id] = (now, replace(_queued(word, reason or rest), said_by=said_by))
                found.add(job_id)
        return found

    def jobs_with_comment(self, comment: str, since: float) -> list[str]:
        """Ids of this user's jobs (of job arrays: the array's) that carry a comment, newest last.

        Args:
            comment: as the script gave it.
            since: seconds since the epoch, before which no such job was submitted.

        Raises:
            ClusterUnreachable: squeue does not answer, so that there may be one.
        """
        user = f"--user={os.getuid()}"
        answer = _call(["squeue", user, "--noheader", "--states=all", "--format=%F|%k"])
        if answer is None or answer.returncode != 0:
            raise ClusterUnreachable("squeue does not answer")
        found = _with_comment(answer.stdout, comment)
        if found:
            return found
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - CLOCKS_APART_S))
        answer = _call(
            ["sacct", user, "--noheader", "--parsable2", "-X", "--format=JobID,Comment",
             f"--starttime={start}"]
        )  # fmt: skip
        # Without accounting, or where it keeps no comments, squeue's word stands.
        return [] if answer is None else _with_comment(answer.stdout, comment)


def _with_comment(lines: str, comment: str) -> list[str]:
    pairs = (line.strip().partition("|") for line in lines.splitlines())
    found = {job_id.partition("_")[0] for job_id, _, said in pairs if said.strip() == comment}
    return sorted((job_id for job_id in found if job_id.isdecimal()), key=int)


def _job_state(job_id: str) -> JobState:
    reachable = False
    answer = _call(["squeue", "--noheader", "--states=all", "--format=%T|%r", f"--jobs={job_id}"])
    if answer is not None:
        unknown_job = "Invalid job id" in answer.stderr
        reachable = answer.returncode == 0 or unknown_job
        if answer.returncode == 0 and answer.stdout.strip():
            state, _, reason = answer.stdout.strip().splitlines()[0].partition("|")
            return _queued(state, reason)
    answer = _call(
        ["sacct", "--noheader", "--parsable2", "-X", "--format=State", f"--jobs={job_id}"]
    )
    if answer is not None and answer.returncode == 0 and answer.stdout.strip():
        # `CANCELLED by 1000` in sacct
        words = answer.stdout.strip().splitlines()[-1].split()
        return JobState(words[0], " ".join(words[1:]), "sacct")
    if not reachable:
        raise ClusterUnreachable("SLURM does not answer")
    return _FORGOTTEN


def _queued(state: str, reason: str) -> JobState:
    return JobState(state, "" if reason == "None" else reason, "squeue")


def slurm_settings(partition: str | None) -> tuple[dict[str, str], dict[str, str]] | None:
    """SLURM's configuration, and that of a partition (None: the default one), by their names;
    None: there is no SLURM here, or it does not answer at once."""
    if shutil.which("scontrol") is None:
        return None
    config = _call(["scontrol", "show", "config"], SETTINGS_TIMEOUT_S)
    if config is None or config.returncode != 0:
        return None
    pairs = (line.partition("=") for line in config.stdout.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    shown = _call(["scontrol", "--oneliner", "show", "partition"], SETTINGS_TIMEOUT_S)
    for line in shown.stdout.splitlines() if shown is not None else ():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if words.get("PartitionName") == partition or (
            partition is None and words.get("Default") == "YES"
        ):
            return found, words
    return found, {}


def max_array_size() -> int:
    """How many tasks a job array may have; SLURM's default where it does not say."""
    settings = slurm_settings(None)
    text = "" if settings is None else settings[0].get("MaxArraySize", "")
    return int(text) if text.isdecimal() else DEFAULT_MAX_ARRAY_SIZE


def cancel_job(*job_ids: str, signal: str | None = None) -> None:
    """`scancel`, or a signal to all steps of the jobs.

    Raises:
        ClusterUnreachable: scancel fails for a reason other than that the job is gone.
    """
    signalling = [f"--signal={signal}"] if signal else []
    for first in range(0, len(job_ids), _JOBS_PER_CALL):
        _scancel([*signalling, *job_ids[first : first + _JOBS_PER_CALL]])


_JOBS_PER_CALL = 500


def _scancel(arguments: list[str]) -> None:
    answer = _call(["scancel", *arguments])
    if answer is None:
        raise ClusterUnreachable("scancel does not answer")
    gone = "Invalid job id" in answer.stderr or "already completing" in answer.stderr
    if answer.returncode != 0 and not gone:
        raise ClusterUnreachable(f"scancel: {_first_line(answer.stderr)}")


def _call(
    command: list[str], timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str] | None:
    """Run a command of SLURM; None: it is not installed, or did not answer in time."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[0]
