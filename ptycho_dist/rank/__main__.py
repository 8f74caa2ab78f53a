"""What every rank runs: `python -m ptycho_dist.rank RUN_DIR`.

The process that SLURM, torchrun or the local cluster starts is the rank itself: non-KILL signals
reach only a job step's direct children. The handlers are in place before anything slow is
imported, and before that nothing can be lost.
"""

import sys

from ptycho_dist.runtime.stop import StopRequest

if __name__ == "__main__":
    stop = StopRequest()
    stop.install()

    from ptycho_dist.rank.entry import run_rank

    run_rank(sys.argv[1:], stop)
