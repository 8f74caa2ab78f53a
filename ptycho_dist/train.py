"""`python -m ptycho_dist.train`: the command `ptycho-train`, as torchrun and srun start it."""

import sys

from ptycho_dist.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
