"""Makes `python -m launcher` the same as `ptycho-launch`."""

import sys

from launcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
