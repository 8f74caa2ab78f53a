"""The local cluster of a run, by a clock that stands still while no rank has trained.

    waiting_clock_program.py RUN_DIR

Its walltime begins to count in each attempt when rank 0 has counted a few steps of it. So the
signal before the walltime meets a training, however long the ranks take to start.
"""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime import local_cluster

STEPS = 3


class WaitingClock:
    """`time.monotonic` less the time in which it stood still."""

    def __init__(self, run):
        self.run = run
        self.last = time.monotonic()
        self.stood_s = 0.0

    def monotonic(self):
        now = time.monotonic()
        if not self.training():
            self.stood_s += now - self.last
        self.last = now
        return now - self.stood_s

    def training(self):
        """Whether the newest attempt has trained."""
        attempts = read_attempts(self.run)
        beat = read_heartbeats(self.run).get(0)
        if not attempts or beat is None or beat.attempt != attempts[-1].number:
            return False
        before = [record.end.ending.committed_step or 0 for record in attempts[:-1]]
        return beat.progress.get("step", 0) >= max(before, default=0) + STEPS


if __name__ == "__main__":
    run = RunDirectory(Path(sys.argv[1]))
    clock = WaitingClock(run)
    local_cluster.time = SimpleNamespace(
        monotonic=clock.monotonic, time=time.time, sleep=time.sleep
    )
    sys.exit(local_cluster.LocalJob(run).run())
