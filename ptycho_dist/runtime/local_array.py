"""Runs the members of an array on this machine, one after another, without SLURM.

`python -u -m ptycho_dist.runtime.local_array ARRAY_DIR INDICES` takes the place of a job array.
Each member gets its own local cluster, so that it can be cancelled alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from ptycho_dist.attempts.ending import cancel_requested
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices
from ptycho_dist.rundir.frozen import module_command
from ptycho_dist.rundir.layout import RunDirectory


class LocalArray:
    """The members of an array that this process runs."""

    def __init__(self, array: ArrayDirectory, indices: Indices) -> None:
        _, members = array.read()
        self._runs = [member.run for member in members if member.index in indices]
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_by_user = False

    def run(self) -> int:
        """Run all members, also after one has failed; return 0."""
        signal.signal(signal.SIGTERM, self._stop)
        own = str(LocalProcess.of(os.getpid()))
        for run in self._runs:
            if self._ended_by_user:
                break
            if cancel_requested(run, own):
                print(f"{run.run_id}: cancelled before it began", flush=True)
                continue
            print(f"{run.run_id}: exit code {self._run(run)}", flush=True)
        return 0

    def _run(self, run: RunDirectory) -> int:
        start = module_command(run, run.plan(), [sys.executable])
        with (run.logs / "batch-local.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*start, "ptycho_dist.runtime.local_cluster", str(run.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if self._ended_by_user:  # SIGTERM came while the process was being started
            self._process.terminate()
        return self._process.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._ended_by_user = True
        if self._process is not None:
            self._process.terminate()


if __name__ == "__main__":
    try:
        sys.exit(LocalArray(ArrayDirectory(Path(sys.argv[1])), Indices.parse(sys.argv[2])).run())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
