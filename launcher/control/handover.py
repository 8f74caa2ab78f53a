"""submitit's executors, changed so that they submit our script instead of a pickle.

We override three private methods of submitit: `_submit_command` writes the text of
`_make_submission_file_text`, runs `_make_submission_command` and reads the job id.
tests/unit/test_submitit_seam.py checks that the pinned version still works this way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.local.local import LocalJob

from ptycho_dist.attempts.job_variables import clean_environment
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.errors import ClusterUnreachable, UserError
from ptycho_dist.rundir.files import write_bytes_atomic
from ptycho_dist.rundir.frozen import module_command
from ptycho_dist.rundir.layout import RunDirectory

_UNREACHABLE = ("Unable to contact slurm controller", "Connection refused")
_UNCERTAIN = ("timed out", "Zero Bytes were transmitted")


class UncertainSubmission(ClusterUnreachable):
    """SLURM's answer was lost: the job may or may not be queued."""


@dataclass(frozen=True)
class Handover:
    """What is submitted: a script to sbatch, or a program on this machine."""

    directory: Path
    """Directory of the run or the array."""
    script: Path
    """File that keeps the script."""
    text: str
    """Text of the script."""
    program: tuple[str, ...] = ()
    """Command that is run where there is no SLURM; empty for a job of SLURM alone."""
    options: tuple[str, ...] = ()
    """Options of sbatch beside those in the script."""

    @property
    def log(self) -> Path:
        """File that receives what `program` prints."""
        return self.directory / "logs" / "batch-local.log"

    @classmethod
    def of_run(cls, run: RunDirectory, options: Sequence[str] = ()) -> Handover:
        """The script of a run; where the run has frozen code, its program is run by that."""
        start = module_command(run, run.plan(), [sys.executable])
        return cls(
            directory=run.path,
            script=run.script,
            text=run.script.read_text("utf-8"),
            program=(*start, "ptycho_dist.runtime.local_cluster", str(run.path)),
            options=tuple(options),
        )

    def write_script(self) -> None:
        """Write the script into its file, unless the file holds it already."""
        if not self.script.exists() or self.script.read_text("utf-8") != self.text:
            write_bytes_atomic(self.script, self.text.encode())


class SlurmScriptExecutor(submitit.SlurmExecutor):
    """Hands a script to sbatch, in a clean environment."""

    def __init__(self, job: Handover) -> None:
        super().__init__(_folder(job))
        self._job = job

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._job.text

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        stale = sorted(set(os.environ) - set(clean_environment(os.environ)))
        unset = [word for name in stale for word in ("-u", name)]
        # In a session of its own Ctrl-C cannot end sbatch between queueing the job and answering.
        command = ["sbatch", *self._job.options, str(submission_file_path)]
        return ["setsid", "--wait", "env", *unset, *command]


class LocalScriptExecutor(submitit.LocalExecutor):
    """Starts our program in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, job: Handover) -> None:
        super().__init__(_folder(job))
        self._job = job

    def _submit_command(self, command: str) -> LocalJob:
        with self._job.log.open("ab") as log:
            process = subprocess.Popen(
                self._job.program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment(os.environ),
                start_new_session=True,
                # The lock of the submission must be held until the program can be found among the
                # processes. Its descriptor is inherited and closes itself when the program starts.
                close_fds=False,
            )
        return LocalJob(folder=self.folder, job_id=str(process.pid), process=process)


def _folder(job: Handover) -> Path:
    """The folder in which submitit keeps what it submitted."""
    folder = job.directory / "submitit"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def submit_script(job: Handover, cluster: str, lock: int | None = None) -> str:
    """Submit a script and return its job id (without SLURM: the LocalProcess as text).

    Args:
        job: what to hand over.
        cluster: `slurm` or `local`.
        lock: descriptor that sbatch holds until it ends, even if this process is killed.

    Raises:
        UserError: SLURM refuses the script; the message is SLURM's own.
        ClusterUnreachable: SLURM does not answer.
        UncertainSubmission: SLURM's answer was lost; the job may be queued.
    """
    executor = LocalScriptExecutor(job) if cluster == "local" else SlurmScriptExecutor(job)
    try:
        with redirect_stderr(StringIO()), _as_standard_input(lock):
            # submitit repeats on stderr what its exception carries
            submitted = executor._submit_command(str(job.directory))
    except FailedSubmissionError as error:  # sbatch succeeded, but its answer has no job id
        raise UncertainSubmission(f"sbatch: {_one_line(str(error))}") from None
    except FailedJobError as error:
        raise _refusal(error) from None
    if cluster == "local":
        return str(LocalProcess.of(int(submitted.job_id)))
    return str(submitted.job_id)


@contextmanager
def _as_standard_input(descriptor: int | None) -> Iterator[None]:
    """Put a descriptor in the place of standard input meanwhile.

    submitit passes only the three standard streams on to sbatch.
    """
    if descriptor is None:
        yield
        return
    try:
        before = os.dup(0)
    except OSError:  # this process has no standard input
        before = None
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        if before is None:
            os.close(0)
        else:
            os.dup2(before, 0)
            os.close(before)


def _refusal(error: FailedJobError) -> UserError:
    message = str(error)
    lines = [line for line in message.splitlines() if line.startswith("sbatch: error:")]
    text = "; ".join(line.removeprefix("sbatch: error: ") for line in lines) or _one_line(message)
    code = getattr(error.__cause__, "returncode", 1)
    # setsid reports a killed sbatch in words, a shell by a code above 128.
    killed = code < 0 or code > 128 or "did not exit normally" in message
    if killed or any(sign in message for sign in _UNCERTAIN):
        return UncertainSubmission(f"sbatch: {text or 'it was killed'}")
    if any(sign in message for sign in _UNREACHABLE):
        return ClusterUnreachable(f"sbatch: {text}")
    return UserError(f"sbatch refuses the job: {text}; ask `ptycho-launch check` for the field")


def _one_line(text: str) -> str:
    return " ".join(text.split())
