"""`ptycho-launch completion`: let the TAB key complete commands, flags, files and run ids."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

SUMMARY = "print the script that makes a shell complete this command"
EXAMPLE = 'eval "$(ptycho-launch completion bash)"  (in ~/.bashrc)'

_RUNS = "${PTYCHO_DIST_RUNS_DIR:-runs}"
# Only names that can be run ids: readline would put any other name into the line unquoted.
_BASH_RUNS = f"""_ptycho_launch_runs() {{
  (builtin cd -- "{_RUNS}" 2>/dev/null && compgen -d -- "$1" |
    grep -Ex '[A-Za-z0-9_][A-Za-z0-9._-]*')
}}"""


def arguments(command: argparse.ArgumentParser) -> None:
    """Take the name of a shell."""
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="shell that sources it")


def run(options: argparse.Namespace) -> int:
    """Print the script for this shell."""
    sys.stdout.write(completion_script(options.parser, options.shell))
    return 0


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The text that a shell sources to complete commands, flags, CONFIG and RUN.

    Args:
        parser: the parser of `ptycho-launch`.
        shell: `bash`, `zsh` or `tcsh`.
    """
    import shtab

    completed_by = {
        "config": shtab.FILE,
        "runs_dir": shtab.DIRECTORY,
        "run": {"bash": "_ptycho_launch_runs", "zsh": f"_files -/ -W {_RUNS}", "tcsh": "d"},
    }  # by the dest of the argument; shtab completes choices by itself
    for action in _actions(parser):
        if action.dest in completed_by:
            action.complete = completed_by[action.dest]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell, preamble=_BASH_RUNS if shell == "bash" else "")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
