"""submitit's executors, submitting our script instead of a pickle.

The seam is submitit's own: `_submit_command` writes the text of `_make_submission_file_text`,
runs `_make_submission_command` and reads the job id. tests/unit/test_submitit_seam.py holds it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.local.local import LocalJob

from ptycho_dist.errors import ClusterUnreachable, UserError
from ptycho_dist.rundir import RunDirectory
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.frozen import module_command
from ptycho_dist.rundir.job_variables import clean_environment
from ptycho_dist.rundir.processes import LocalProcess

_UNREACHABLE = ("Unable to contact slurm controller", "Connection refused")
_UNCERTAIN = ("timed out", "Zero Bytes were transmitted")


class UncertainSubmission(ClusterUnreachable):
    """Nobody knows whether the job was queued."""


class SlurmScriptExecutor(submitit.SlurmExecutor):
    """Hands the script of a run to sbatch, in a clean environment."""

    def __init__(self, run: RunDirectory, options: Sequence[str] = ()) -> None:
        """`options`: of sbatch, beside those in the script."""
        super().__init__(_folder(run))
        self._run = run
        self._options = options

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._run.script.read_text("utf-8")

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        stale = sorted(set(os.environ) - set(clean_environment(os.environ)))
        unset = [word for name in stale for word in ("-u", name)]
        # A session of its own: Ctrl-C must not end sbatch between the queueing and its answer.
        return [
            "setsid",
            "--wait",
            "env",
            *unset,
            "sbatch",
            *self._options,
            str(submission_file_path),
        ]


class LocalScriptExecutor(submitit.LocalExecutor):
    """Starts the local cluster in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(_folder(run))
        self._run = run

    def _submit_command(self, command: str) -> LocalJob:
        start = module_command(self._run, read_json(self._run.plan_json), [sys.executable])
        with (self._run.logs / "batch-local.log").open("ab") as log:
            process = subprocess.Popen(
                [*start, "ptycho_dist.runtime.local_cluster", str(self._run.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment(os.environ),
                start_new_session=True,
            )
        return LocalJob(folder=self.folder, job_id=str(process.pid), process=process)


def _folder(run: RunDirectory) -> Path:
    """Where submitit keeps what it submitted."""
    folder = run.path / "submitit"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def submit_script(run: RunDirectory, cluster: str, options: Sequence[str] = ()) -> str:
    """Submit a run and return its job id (of the local cluster: its LocalProcess).

    Args:
        run: its directory, with its script.
        cluster: `slurm` or `local`.
        options: of sbatch, beside those in the script.

    Raises:
        UserError: SLURM refuses the script; the message is SLURM's own.
        ClusterUnreachable: SLURM does not answer.
        UncertainSubmission: SLURM's answer was lost; the job may be queued.
    """
    executor = LocalScriptExecutor(run) if cluster == "local" else SlurmScriptExecutor(run, options)
    try:
        with redirect_stderr(StringIO()):  # submitit repeats there what its exception carries
            job = executor._submit_command(str(run.path))
    except (FailedJobError, FailedSubmissionError) as error:
        raise _refusal(str(error)) from None
    if cluster == "local":
        return str(LocalProcess.of(int(job.job_id)))
    return str(job.job_id)


def _refusal(message: str) -> UserError:
    lines = [line for line in message.splitlines() if line.startswith("sbatch: error:")]
    text = "; ".join(line.removeprefix("sbatch: error: ") for line in lines) or message.strip()
    if any(sign in message for sign in _UNCERTAIN):
        return UncertainSubmission(f"sbatch: {text}")
    if any(sign in message for sign in _UNREACHABLE):
        return ClusterUnreachable(f"sbatch: {text}")
    return UserError(f"sbatch refuses the job: {text}")
