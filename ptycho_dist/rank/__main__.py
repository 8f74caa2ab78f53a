"""What every rank runs: `python -m ptycho_dist.rank RUN_DIR`.

The process that SLURM, torchrun or the local cluster starts is the rank itself, because signals
other than KILL reach only the direct children of a job step. The signal handlers are installed
before anything slow is imported; a signal that comes earlier ends a rank that has nothing to lose.
"""

import sys

from ptycho_dist.runtime.stop import StopRequest

if __name__ == "__main__":
    stop = StopRequest()
    stop.install()

    # The modules below take time to import: the handlers must be in place first.
    from ptycho_dist.rank.entry import run_rank

    run_rank(sys.argv[1:], stop)
