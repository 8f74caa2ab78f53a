"""One rank that is slow on purpose: it sleeps in known places, and notes how long each time.

    delays_program.py RUN_DIR

In every other epoch, once each: all ranks wait for data, rank 1 in its forward pass, all in the
optimizer; writing a checkpoint takes longer, and so does validation. A line of JSON for each goes
to the file that DELAYS_FILE names: the place, the optimizer steps done before, the seconds.

The delays are as long as the machine is slow: rank 0 takes the time of its steps in the first
epoch, and writes down for all ranks how many times longer than on a quick one they are.
"""

import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path

from ptycho_dist.runtime.stop import StopRequest

STEPS_PER_EPOCH = 19
PLACES = {  # name: (step of the epoch, counted from 0; seconds)
    "data": (1, 0.3),
    "forward_backward": (3, 0.7),
    "optimizer": (5, 0.3),
    "checkpoint": (11, 0.9),
    "validation": (18, 0.8),
}
OPENING_S = 0.3
QUICK_STEP_S = 0.03
"""A step that takes no longer than this leaves the delays as they are."""
TIMED_STEPS = range(5, 15)


class Delays:
    """Counts the optimizer steps, and sleeps where it is asked to."""

    def __init__(self, file, rank):
        self.file = file
        self.rank = rank
        self.steps = 0  # done
        self.slept = set()
        self.times = []
        self.slowness_file = Path(f"{os.environ['DELAYS_FILE']}.slowness")

    def stepped(self):
        """A step is done; all ranks meet in each, so that the file is there after the last one."""
        self.steps += 1
        if self.steps in TIMED_STEPS:
            self.times.append(time.perf_counter())
        if self.steps == TIMED_STEPS.stop and self.rank == 0:
            lengths = [end - start for start, end in itertools.pairwise(self.times)]
            slowness = max(1.0, statistics.median(lengths) / QUICK_STEP_S)
            self.slowness_file.write_text(str(slowness))

    def sleep(self, place, step):
        """In the course of this optimizer step; once."""
        epoch, number = divmod(step, STEPS_PER_EPOCH)
        when, seconds = PLACES[place]
        if number != when or epoch % 2 == 0 or (place, step) in self.slept:
            return
        self.slept.add((place, step))
        self.note(place, step, seconds * float(self.slowness_file.read_text()))

    def note(self, place, step, seconds):
        began = time.perf_counter()
        time.sleep(seconds)
        record = {"place": place, "step": step, "seconds": time.perf_counter() - began}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()


def slow_down(delays, rank):
    """Wrap the pieces of a training."""
    import torch

    from ptycho_dist.checkpoint.io import RunCheckpointIO
    from ptycho_dist.data.store import GroupDataset
    from ptycho_dist.training.datamodule import PtychoData
    from ptycho_dist.training.module import PtychoModule

    def wrap(owner, name, before=lambda: None, after=lambda: None):
        inner = getattr(owner, name)

        def outer(*arguments, **options):
            before()
            result = inner(*arguments, **options)
            after()
            return result

        setattr(owner, name, outer)

    def forward():
        if rank == 1:
            delays.sleep("forward_backward", delays.steps)

    def optimizer():
        delays.sleep("optimizer", delays.steps)
        delays.stepped()

    wrap(GroupDataset, "__getitems__", before=lambda: delays.sleep("data", delays.steps))
    wrap(PtychoModule, "training_step", before=forward)
    wrap(torch.optim.Adam, "step", after=optimizer)
    wrap(
        RunCheckpointIO,
        "save_checkpoint",
        before=lambda: delays.sleep("checkpoint", delays.steps - 1),
    )
    wrap(
        PtychoModule,
        "validation_step",
        before=lambda: delays.sleep("validation", delays.steps - 1),
    )
    os.fsync = lambda _: None  # what a disk takes of its own would pass for a delay of ours
    wrap(PtychoData, "__init__", after=lambda: delays.note("opening", 0, OPENING_S))


def main(run_directory):
    stop = StopRequest()
    stop.install()
    rank = int(os.environ["RANK"])
    with Path(f"{os.environ['DELAYS_FILE']}.{rank}").open("w") as file:
        slow_down(Delays(file, rank), rank)

        from ptycho_dist.rank.entry import run_rank

        run_rank([run_directory], stop)


if __name__ == "__main__":
    main(sys.argv[1])
