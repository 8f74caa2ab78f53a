"""`python -m ptycho_dist.inference`: the command `ptycho-infer`, as torchrun and srun start it."""

import sys

from ptycho_dist.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())
