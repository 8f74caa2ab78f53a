"""The local cluster: runs the ranks of one run on this machine, without SLURM.

`python -m ptycho_dist.runtime.local_cluster RUN_DIR` takes the place of the batch script and srun.
It begins the attempt, starts one process per rank with its environment, forwards signals, enforces
the walltime, ends all ranks when one fails, records the end, and begins the next attempt if the
policy of the run says so.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

from ptycho_dist.attempts.attempt import Attempt, Ended, begin_attempt, end_attempt
from ptycho_dist.attempts.containers import container_command
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE, clean_environment
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED
from ptycho_dist.rundir.frozen import module_command
from ptycho_dist.rundir.layout import RunDirectory

POLL_S = 0.05
LEAVE_TOGETHER_S = 30
"""Seconds in which the other ranks must leave after the first one stopped on request."""
FAIL_TOGETHER_S = 3
"""Seconds in which they must leave after the first one failed: enough to report what they saw."""
CANCEL_S = 20
"""Seconds from SIGTERM to SIGKILL."""
_PR_SET_PDEATHSIG = 1


class LocalJob:
    """The ranks of one attempt, as child processes."""

    def __init__(self, run: RunDirectory, in_foreground: bool = False) -> None:
        """Read the plan of a run.

        Args:
            run: the run directory.
            in_foreground: whether a user waits in a terminal, where rank 0 then prints, and where
                Ctrl-C stops the run.
        """
        self._run = run
        self._in_foreground = in_foreground
        self._plan = run.plan()
        self._world = self._plan.world
        self._config = run.config()
        self._ranks: list[subprocess.Popen[bytes]] = []
        self._kill_at = float("inf")
        self._passed_on: list[int] = []

    def run(self) -> int:
        """Run attempts until none follows; return the exit code of the last one."""
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._pass_on)
        if self._in_foreground:
            signal.signal(signal.SIGINT, self._ctrl_c)
        ended = self._attempt(restarted=False)
        while ended.decision.restart:
            print(ended.decision.why, flush=True)
            if not self._wait_before_restart(ended.decision.delay_s):
                break
            ended = self._attempt(restarted=True)
        return ended.exit_code

    def _wait_before_restart(self, seconds: float) -> bool:
        """Wait; return False if a user has ended the run meanwhile."""
        until = time.monotonic() + seconds
        while not self._ended_by_user and time.monotonic() < until:
            time.sleep(POLL_S)
        return not self._ended_by_user

    @property
    def _ended_by_user(self) -> bool:
        return signal.SIGTERM in self._passed_on or signal.SIGINT in self._passed_on

    def _attempt(self, restarted: bool) -> Ended:
        """Run one attempt to its end."""
        self._ranks = []
        self._kill_at = float("inf")
        self._passed_on = [number for number in self._passed_on if number != signal.SIGUSR2]
        walltime_s = self._plan.walltime_s
        attempt = begin_attempt(
            self._run,
            job_id=str(LocalProcess.of(os.getpid())),
            cluster="local",
            nodes=[socket.gethostname()],
            ends_at=None if walltime_s is None else time.time() + walltime_s,
            signal_lead_s=self._plan.signal_lead_s,
            restarted=restarted,
        )
        logs: list[IO[bytes]] = []
        try:
            for rank in range(self._world.ranks):
                log: IO[bytes] | None = None
                if rank > 0 or not self._in_foreground:
                    log = self._run.rank_log(attempt.number, rank).open("ab")
                    logs.append(log)
                self._ranks.append(self._start(rank, attempt, log))
            for missed in self._passed_on:  # signals that came while the ranks were being started
                self._signal_all(signal.SIGUSR2 if missed == signal.SIGINT else missed)
            code = self._wait()
        except OSError as error:
            print(f"error: a rank cannot be started: {error}", flush=True)
            code = EXIT_RUN_FAILED
        finally:
            self._signal_all(signal.SIGKILL)
            for log in logs:
                log.close()
        return end_attempt(
            self._run,
            attempt.number,
            code,
            on_request=self._ended_by_user and code != 0,
            by_itself=not self._in_foreground,
        )

    def _start(self, rank: int, attempt: Attempt, log: IO[bytes] | None) -> subprocess.Popen[bytes]:
        environment = {
            **clean_environment(os.environ),
            **self._plan.variables,
            "RANK": str(rank),
            "WORLD_SIZE": str(self._world.ranks),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(self._world.tasks_per_node),
            "GROUP_RANK": "0",
            "MASTER_ADDR": attempt.host,
            "MASTER_PORT": str(attempt.port),
            ATTEMPT_VARIABLE: attempt.to_variable(),
        }
        interpreter = [self._plan.python or sys.executable]
        if self._config.environment.container is not None:
            interpreter = container_command(self._config, self._run.path)
        start = module_command(self._run, self._plan, interpreter)
        command = [*start, "ptycho_dist.rank", str(self._run.path)]
        shell_lines = [f"module load {shlex.quote(name)} || exit 2" for name in self._plan.modules]
        shell_lines += self._plan.setup
        if shell_lines:  # exec, so that the shell becomes the rank, which signals then reach
            prelude = "\n".join([*shell_lines, 'exec "$@"'])
            command = ["bash", "-lc" if self._plan.modules else "-c", prelude, "rank", *command]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
            env=environment,
            start_new_session=self._in_foreground,  # Ctrl-C must reach this process alone
            preexec_fn=_stop_with_parent,
        )

    def _wait(self) -> int:
        """Wait for all ranks; return 0, or the exit code that explains the end."""
        began = time.monotonic()
        walltime_at = signal_at = float("inf")
        if self._plan.walltime_s is not None:
            walltime_at = began + self._plan.walltime_s
            signal_at = walltime_at - (self._plan.signal_lead_s or 0)
        first_bad = 0
        while any(rank.poll() is None for rank in self._ranks):
            now = time.monotonic()
            if not first_bad:
                first_bad = self._first_bad()
                if first_bad:
                    together = first_bad == EXIT_STOPPED
                    self._kill_after(LEAVE_TOGETHER_S if together else FAIL_TOGETHER_S)
            if now >= signal_at:
                signal_at = float("inf")
                self._signal_all(signal.SIGUSR2)
            if now >= min(self._kill_at, walltime_at):
                self._signal_all(signal.SIGKILL)
            time.sleep(POLL_S)
        code = first_bad or self._first_bad()
        return code if code >= 0 else 128 - code

    def _first_bad(self) -> int:
        """Return the exit code that explains the others; 0: all ranks that have left finished.

        The exit code of a rank killed by a signal is negative, and comes first: the ranks that lose
        it fail within milliseconds.
        """
        codes = {rank: p.returncode for rank, p in enumerate(self._ranks) if p.returncode}
        for rank, code in codes.items():
            if code < 0:
                print(f"rank {rank} was killed by {signal.Signals(-code).name}", flush=True)
        return min(codes.values(), default=0)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._passed_on.append(number)
        self._signal_all(number)
        if number == signal.SIGTERM:
            self._kill_after(CANCEL_S)

    def _ctrl_c(self, number: int, frame: FrameType | None) -> None:
        """Stop with a checkpoint on the first Ctrl-C, and at once on the second."""
        again = number in self._passed_on
        self._passed_on.append(number)
        self._signal_all(signal.SIGKILL if again else signal.SIGUSR2)

    def _kill_after(self, seconds: float) -> None:
        self._kill_at = min(self._kill_at, time.monotonic() + seconds)

    def _signal_all(self, number: int) -> None:
        for rank in self._ranks:
            if rank.poll() is None:
                rank.send_signal(number)


def _stop_with_parent() -> None:
    """Ask Linux to send this rank SIGTERM when the local cluster is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(LocalJob(RunDirectory(Path(sys.argv[1]))).run())
