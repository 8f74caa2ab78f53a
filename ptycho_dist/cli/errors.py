"""One clear line for a person's mistake, no traceback, and the exit code of the contract."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ptycho_dist.errors import UserError

EXIT_INTERRUPTED = 130


def one_line_errors(debug: bool, command: Callable[[], int]) -> int:
    """Run a command; a UserError becomes one line on stderr per fault, and its exit code.

    Args:
        debug: let errors through, with their traceback.
        command: returns the exit code when all is well.
    """
    try:
        return command()
    except UserError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
