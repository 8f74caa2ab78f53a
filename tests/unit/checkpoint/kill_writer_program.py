"""Kill a writer of checkpoints and print what is left, one line of JSON per kill.

    kill_writer_program.py random RUN_DIR DELAY...   SIGKILL DELAY seconds after its first commit
    kill_writer_program.py at RUN_DIR INSTANT...     just before its n-th `rename:n` or `rmtree:n`

Each writer is a fork of this process, which has imported torch once for all of them.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.checkpoint.catalog import checkpoint_name, committed, newest_whole, sweep
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.checkpoint.state import read_state
from ptycho_dist.rundir.layout import RunDirectory


def save(run, attempt, step, size):
    state = {"global_step": step, "state_dict": {"w": torch.full((size,), float(step))}}
    RunCheckpointIO(run, attempt).save_checkpoint(state, run.checkpoints / checkpoint_name(step))


def begin(run):
    return begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"])


def write_on_and_on(run, said):
    """Replace the newest step first, as an attempt does that reaches it again."""
    attempt = begin(run)
    step = max((checkpoint.step for checkpoint in committed(run)), default=1)
    while True:
        save(run, attempt, step, 20_000)
        os.write(said, f"{step}\n".encode())
        step += 1


def replace_until(run, instant):
    operation, number = instant.split(":")
    owner = {"rename": Path, "rmtree": shutil}[operation]
    original = getattr(owner, operation)
    calls = 0

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    attempt = begin(run)
    setattr(owner, operation, counted)
    save(run, attempt, 10, 1000)


def fork(work, *arguments):
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
        finally:
            os._exit(3)
    return child


def kill_at_random(run, delay):
    reading, writing = os.pipe()
    child = fork(write_on_and_on, run, writing)
    os.close(writing)
    said = os.read(reading, 100)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    while more := os.read(reading, 1 << 16):
        said += more
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return status, max(map(int, said.split()))


def kill_at(run, instant):
    for path in run.checkpoints.iterdir():
        shutil.rmtree(path)
    save(run, begin(run), 10, 1000)
    _, status = os.waitpid(fork(replace_until, run, instant), 0)
    return status, 10


def main(mode, directory, *kills):
    torch.set_num_threads(1)
    run = RunDirectory(Path(directory))
    for kill in kills:
        status, said = kill_at_random(run, float(kill)) if mode == "random" else kill_at(run, kill)
        hidden = [path.name for path in run.checkpoints.glob(".*")]
        torn = [found.path.name for found in committed(run) if found.fault() is not None]
        before, reasons = newest_whole(run)
        holds = before and float(read_state(before)["state_dict"]["w"][-1])
        sweep(run)
        after, _ = newest_whole(run)
        record = {
            "killed": os.WTERMSIG(status) == signal.SIGKILL,
            "committed": said,
            "found": before and before.step,
            "torn": torn,
            "holds": holds,
            "reasons": reasons,
            "hidden": hidden,
            "after_sweep": after and after.path.name,
            "hidden_after_sweep": [path.name for path in run.checkpoints.glob(".*")],
        }
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
