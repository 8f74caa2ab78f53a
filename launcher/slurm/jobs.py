"""SLURM's own commands: each call typed, bounded in time, its output parsed in one place."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ptycho_dist.errors import ClusterUnreachable

TIMEOUT_S = 20
QUERY_TIMEOUT_S = 10
"""For squeue and sacct: who asks for a status waits at most twice this."""
AFTER_SILENCE_S = 60
"""A watcher leaves a SLURM that does not answer in peace for so long."""
JOBS_PER_QUESTION = 5000
"""Job ids in one command line: an argument of Linux holds 128 KiB."""
CLOCKS_APART_S = 3600
"""More than the clocks of a login node and of the accounting will differ."""
SETTINGS_TIMEOUT_S = 5
"""For what a plan is the better for, and can do without."""
DEFAULT_MAX_ARRAY_SIZE = 1001
JOBS_PER_SCANCEL = 500

ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)
WAITING = frozenset(
    {
        *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
        *("RESV_DEL_HOLD", "SPECIAL_EXIT"),
    }
)
_JOB_ID = re.compile(r"\d{1,12}(_\d{1,9})?")


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job."""

    state: str
    """`PENDING`, `RUNNING`, `COMPLETED` ...; `UNKNOWN` where SLURM has forgotten the job."""
    reason: str
    said_by: str
    """Which command said so."""
    starts_at: float | None = None
    """When it started, or, while it waits, is expected to; seconds since the epoch."""

    @property
    def waits(self) -> bool:
        """Whether the job is in the queue."""
        return self.state in WAITING

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
        self._known: dict[str, tuple[float, JobState | str]] = {}
        self._silent_until, self._silence = float("-inf"), ""

    def job_state(self, job_id: str) -> JobState:
        """The state of a job, from squeue, else from sacct.

        Raises:
            ClusterUnreachable: neither answers; it says why.
        """
        valid_until, known = self._known.get(job_id, (float("-inf"), ""))
        if time.monotonic() >= valid_until:
            self.learn([job_id])
            _, known = self._known[job_id]
        if isinstance(known, str):
            raise ClusterUnreachable(known)
        return known

    def learn(self, job_ids: Iterable[str]) -> None:
        """Ask of many jobs at once: squeue once, and sacct once for those that it does not know.

        Several members of a job array are asked for as that array.
        """
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
            silent = self._every_s and any(isinstance(each, str) for each in answers.values())
            until = time.monotonic() + (AFTER_SILENCE_S if silent else self._every_s)
            self._known |= {job_id: (until, answers[job_id]) for job_id in some}

    def jobs_with_comment(self, comment: str, since: float) -> list[str]:
        """Ids of this user's jobs (of job arrays: the array's) that carry a comment, newest last.

        Args:
            comment: as the script gave it.
            since: seconds since the epoch, before which no such job was submitted.

        Raises:
            ClusterUnreachable: squeue does not answer, so that there may be one.
        """
        if time.monotonic() < self._silent_until:
            raise ClusterUnreachable(self._silence)
        user = f"--user={os.getuid()}"
        answer, silence = _query(["squeue", user, "--noheader", "--states=all", "--format=%F|%k"])
        if answer is None:
            self._silence = f"SLURM does not say: {silence}"
            if self._every_s:  # a command that asks for many jobs waits for one time-out
                self._silent_until = time.monotonic() + AFTER_SILENCE_S
            raise ClusterUnreachable(self._silence)
        found = _with_comment(answer, comment)
        if found:
            return found
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - CLOCKS_APART_S))
        answer, _ = _query(
            ["sacct", user, "--noheader", "--parsable2", "-X", "--format=JobID,Comment",
             f"--starttime={start}"]
        )  # fmt: skip
        # Without accounting, or where it keeps no comments, squeue's word stands.
        return [] if answer is None else _with_comment(answer, comment)


def _with_comment(lines: str, comment: str) -> list[str]:
    pairs = (line.strip().partition("|") for line in lines.splitlines())
    found = {job_id.partition("_")[0] for job_id, _, said in pairs if said.strip() == comment}
    return sorted((job_id for job_id in found if job_id.isdecimal()), key=int)


def _job_states(job_ids: list[str]) -> dict[str, JobState | str]:
    """Of each job its state, or why nobody says."""
    asked = [job_id for job_id in job_ids if _JOB_ID.fullmatch(job_id)]
    states, silence = _squeue(asked)
    rest = [job_id for job_id in asked if job_id not in states]
    if rest:
        accounted, no_sacct = _sacct(rest)
        states = accounted | states
        if silence is not None:  # accounting alone may lag behind: not to know is not to be gone
            silence = f"SLURM does not say: {silence}; {no_sacct or 'sacct has no such job'}"
    unknown: JobState | str = _FORGOTTEN if silence is None else silence
    strange = {job_id: f"{job_id!r} is no job id of SLURM" for job_id in {*job_ids} - {*asked}}
    return dict.fromkeys(asked, unknown) | strange | states


def _jobs_option(job_ids: list[str]) -> str:
    """Several members of a job array go as that array: a thousand ids are a long command line."""
    pairs = [(job_id, job_id.partition("_")[0]) for job_id in job_ids]
    members = Counter(array for _, array in pairs)
    asked = (array if members[array] > 1 else job_id for job_id, array in pairs)
    return f"--jobs={','.join(dict.fromkeys(asked))}"


def _squeue(job_ids: list[str]) -> tuple[dict[str, JobState], str | None]:
    """What squeue knows of them, and why it says nothing at all."""
    if not job_ids:
        return {}, None
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%S|%r"]
    answer, silence = _query([*command, _jobs_option(job_ids)])
    if answer is None:
        return {}, None if silence and "Invalid job id" in silence else silence
    states = {}
    for line in answer.splitlines():
        job_id, state, start, reason = [*line.strip().split("|", 3), "", "", ""][:4]
        states[job_id] = JobState(
            state, "" if reason == "None" else reason, "squeue", local_time(start)
        )
    return states, None


def _sacct(job_ids: list[str]) -> tuple[dict[str, JobState], str | None]:
    """What sacct knows of them, and why it says nothing at all."""
    command = ["sacct", "--noheader", "--parsable2", "-X", "--format=JobID,State,Start"]
    answer, silence = _query([*command, _jobs_option(job_ids)])
    states = {}
    for line in (answer or "").splitlines():
        job_id, state, start = [*line.strip().split("|"), "", "", ""][:3]
        word, *rest = state.split() or ["UNKNOWN"]  # `CANCELLED by 1000`
        states[job_id] = JobState(word, " ".join(rest), "sacct", local_time(start))
    return states, silence


def _query(command: list[str]) -> tuple[str | None, str | None]:
    """What a command prints, or (None, why it does not)."""
    if shutil.which(command[0]) is None:
        return None, f"{command[0]} is not on PATH"
    answer = _call(command, QUERY_TIMEOUT_S)
    if answer is None:
        return None, f"{command[0]} does not answer within {QUERY_TIMEOUT_S} s"
    if answer.returncode != 0:
        return None, f"{command[0]}: {_first_line(answer.stderr)}"
    return answer.stdout, None


def local_time(text: str) -> float | None:
    """Seconds since the epoch of SLURM's `2026-11-24T13:32:23`; None: `N/A`, `Unknown`."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except (ValueError, OverflowError):
        return None


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
    for first in range(0, len(job_ids), JOBS_PER_SCANCEL):
        _scancel([*signalling, *job_ids[first : first + JOBS_PER_SCANCEL]])


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
    """Run a command of SLURM; None: it is not installed, or did not answer in time.

    Where the command is a wrapper of the site, what it has started is ended with it.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError:
        return None
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[0]


def comment_of(name: str) -> str:
    """What SLURM keeps with the job of a run, and by which it is found again."""
    return f"ptycho-dist:{name}"
