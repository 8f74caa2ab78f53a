"""Completion of `ptycho-launch` for a shell, made from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

from launcher.parser import build_parser

_RUNS = "${PTYCHO_DIST_RUNS_DIR:-runs}"
# Names of run ids alone: what else lies there, readline would put into the line unquoted.
_BASH_RUNS = f"""_ptycho_launch_runs() {{
  (builtin cd -- "{_RUNS}" 2>/dev/null && compgen -d -- "$1" |
    grep -Ex '[A-Za-z0-9_][A-Za-z0-9._-]*')
}}"""
_COMPLETED_BY: dict[str, Any] = {
    "config": shtab.FILE,
    "runs_dir": shtab.DIRECTORY,
    "run": {"bash": "_ptycho_launch_runs", "zsh": f"_files -/ -W {_RUNS}", "tcsh": "d"},
}
"""What an argument is completed with, by its name in the options; a choice needs nothing."""


def completion_script(shell: str) -> str:
    """The text that a shell sources to complete commands, flags, CONFIG and RUN."""
    parser = build_parser()
    for action in _actions(parser):
        if action.dest in _COMPLETED_BY:
            action.complete = _COMPLETED_BY[action.dest]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell, preamble=_BASH_RUNS if shell == "bash" else "")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
