"""Arguments that several commands take; each has one name, meaning and help (RC-132)."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.status.next_command import default_runs_dir

Arguments = argparse.ArgumentParser | argparse._ArgumentGroup
"""The parser of a command, or one of its groups."""


def takes_config(command: argparse.ArgumentParser) -> None:
    """Add CONFIG and `--set`."""
    command.add_argument("config", type=Path, metavar="CONFIG", help="config of the run (run.yaml)")
    sets_fields(command)


def sets_fields(command: Arguments) -> None:
    """Add `--set section.field=value`, which may be repeated."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.FIELD=VALUE",
        help="set one field of the config, whatever the file or another flag says (repeatable)",
    )


def takes_axes(command: argparse.ArgumentParser) -> None:
    """Add `--array`, which may be repeated, and `--throttle`."""
    command.add_argument(
        "--array",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE,VALUE",
        help="make one run for each value, all in one job array (repeatable: every combination)",
    )
    command.add_argument(
        "--throttle",
        type=int,
        metavar="N",
        help="run at most N members of a job array at once (default: as many as SLURM starts)",
    )


def knows_runs(command: argparse.ArgumentParser) -> None:
    """Add `--runs-dir`."""
    command.add_argument(
        "--runs-dir",
        type=Path,
        default=default_runs_dir(),
        metavar="DIR",
        help="directory of the runs (default: $PTYCHO_DIST_RUNS_DIR, else ./runs)",
    )


def takes_run(command: argparse.ArgumentParser) -> None:
    """Add RUN, which may be left out (RC-130), and `--runs-dir`."""
    command.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="run id, the beginning of one, or a run directory (default: the newest run)",
    )
    knows_runs(command)


def takes_attempt(command: Arguments) -> None:
    """Add `--attempt`."""
    command.add_argument(
        "--attempt", type=int, metavar="N", help="look at this attempt (default: the last)"
    )


def selects_states(command: argparse.ArgumentParser, default: str) -> None:
    """Add `--state`.

    Args:
        command: its parser.
        default: the states that are selected without the flag, for the help.
    """
    command.add_argument(
        "--state",
        metavar="STATE,...",
        help=f"select runs in these states, separated by commas (default: {default})",
    )


def chooses_cluster(command: Arguments) -> None:
    """Add `--cluster`."""
    command.add_argument(
        "--cluster",
        choices=("slurm", "local"),
        help="where to run (default: slurm where sbatch is on PATH, else local; a run that is "
        "resumed: where it ran before)",
    )


def draws_numbers(command: Arguments) -> None:
    """Add `--seed`; None stands for 0."""
    command.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="seed of everything that is drawn at random (default: 0)",
    )


def writes_file(command: argparse.ArgumentParser, default: str) -> None:
    """Add `--output`.

    Args:
        command: its parser.
        default: the file that is written without the flag, for the help.
    """
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"file to write (default: {default})",
    )


def asks_first(command: Arguments) -> None:
    """Add `--yes`."""
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def waits(command: Arguments) -> None:
    """Add `--wait`."""
    command.add_argument(
        "--wait",
        action="store_true",
        help="show progress until the run is over; exit 0 if it finished, else 1",
    )


def speaks_json(command: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    command.add_argument("--json", action="store_true", help="print JSON, for scripts")
