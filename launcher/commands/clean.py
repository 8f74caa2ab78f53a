"""`ptycho-launch clean`: remove what runs that are over have left."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING

from launcher.commands.arguments import asks_first, knows_runs, selects_states, speaks_json
from ptycho_dist.errors import UserError

if TYPE_CHECKING:
    from launcher.control.clean import Removal

SUMMARY = "show what can be removed of runs that are over; with --delete remove it"
EXAMPLE = "ptycho-launch clean --state finished,failed --older-than 30d --delete"
_OVER = ("finished", "stopped", "failed", "cancelled", "lost", "prepared")
_AGE = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def arguments(command: argparse.ArgumentParser) -> None:
    """Take runs, and which of them to remove."""
    command.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="run ids, beginnings of them, or run directories (default: all runs and arrays)",
    )
    knows_runs(command)
    selects_states(command, "finished; of named runs any that is over")
    command.add_argument(
        "--older-than",
        default="0s",
        metavar="AGE",
        help="select runs that have not changed for this long, such as 12h or 30d (default: 0s)",
    )
    command.add_argument(
        "--delete", action="store_true", help="remove them, after asking for confirmation"
    )
    asks_first(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Show what can be removed; with `--delete` ask, and remove it."""
    from launcher.commands.which_run import named
    from launcher.control.clean import removals, remove
    from ptycho_dist.rundir.listing import list_arrays, list_runs

    age = _AGE.fullmatch(options.older_than)
    if age is None:
        raise UserError(f"--older-than {options.older_than}: expected an age such as 12h or 30d")
    root = options.runs_dir
    runs = [named(root, each) for each in options.runs]
    states = options.state or (",".join(_OVER) if runs else "finished")
    if unknown := set(states.split(",")) - set(_OVER):
        raise UserError(f"--state {min(unknown)}: no such state; there are {', '.join(_OVER)}")
    found = removals(
        root,
        runs or [*(r for r in list_runs(root) if r.array_id is None), *list_arrays(root)],
        states=frozenset(states.split(",")),
        older_than_s=int(age[1]) * _SECONDS[age[2]],
    )
    going = [each for each in found if not each.kept and each.parts]
    if options.json:
        print(json.dumps([each.to_json() for each in found], indent=2))
    else:
        _show(found, all_of_them=bool(runs))
    if not going or not options.delete:
        if going and not options.json:
            print("nothing was removed; add --delete to remove it")
        return 0
    if not options.yes:
        _ask_again(len(going))
    for each in going:
        remove(each)
    if not options.json:
        print(f"removed: {len(going)}")
    return 0


def _show(found: list[Removal], *, all_of_them: bool) -> None:
    """Print a line for each that can be removed, and with `all_of_them` for each that stays."""
    for each in found:
        if not each.kept and each.parts:
            print(f"{_readable(each.bytes):>9}  {each.path.name}: {each.what}")
        elif all_of_them:
            print(f"    stays  {each.path.name}: {each.what}; {each.kept or 'nothing to remove'}")
    going = [each for each in found if not each.kept and each.parts]
    total = _readable(sum(each.bytes for each in going))
    print(f"{total:>9}  in {len(going)} of {len(found)}")


def _ask_again(count: int) -> None:
    if not sys.stdin.isatty():
        raise UserError("--delete asks for confirmation, and stdin is not a terminal; add --yes")
    print(f"This cannot be undone. Type {count} to remove {count}: ", end="", flush=True)
    if sys.stdin.readline().strip() != str(count):
        raise UserError("nothing was removed")


def _readable(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
