"""`ptycho-launch completion`: the TAB key completes commands, flags, files and run ids."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

SUMMARY = "print the script with which a shell completes this command"
EXAMPLE = 'eval "$(ptycho-launch completion bash)"  (in ~/.bashrc)'

_RUNS = "${PTYCHO_DIST_RUNS_DIR:-runs}"
# Names of run ids alone: what else lies there, readline would put into the line unquoted.
_BASH_RUNS = f"""_ptycho_launch_runs() {{
  (builtin cd -- "{_RUNS}" 2>/dev/null && compgen -d -- "$1" |
    grep -Ex '[A-Za-z0-9_][A-Za-z0-9._-]*')
}}"""


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(options: argparse.Namespace) -> int:
    sys.stdout.write(completion_script(options.parser, options.shell))
    return 0


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The text that a shell sources to complete commands, flags, CONFIG and RUN.

    Args:
        parser: of the whole command.
        shell: `bash`, `zsh` or `tcsh`.
    """
    import shtab

    completed_by = {
        "config": shtab.FILE,
        "runs_dir": shtab.DIRECTORY,
        "run": {"bash": "_ptycho_launch_runs", "zsh": f"_files -/ -W {_RUNS}", "tcsh": "d"},
    }  # by the name of the argument in the options; a choice needs nothing
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
