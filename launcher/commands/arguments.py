"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.status.next_command import default_runs_dir

Arguments = argparse.ArgumentParser | argparse._ArgumentGroup
"""Of a command, or of one of its groups."""


def takes_config(command: argparse.ArgumentParser) -> None:
    """CONFIG, and `--set`."""
    command.add_argument("config", type=Path, metavar="CONFIG", help="run.yaml")
    sets_fields(command)


def sets_fields(command: Arguments) -> None:
    """`--set section.field=value`, as often as one likes."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.FIELD=VALUE",
        help="override one value (repeatable)",
    )


def takes_axes(command: argparse.ArgumentParser) -> None:
    """`--array`, as often as one likes, and `--throttle`."""
    command.add_argument(
        "--array",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE,VALUE",
        help="one run per value, as one job array (repeatable: every combination)",
    )
    command.add_argument(
        "--throttle",
        type=int,
        metavar="N",
        help="run at most N members of a job array at once (default: as many as SLURM starts)",
    )


def knows_runs(command: argparse.ArgumentParser) -> None:
    """`--runs-dir`."""
    command.add_argument(
        "--runs-dir",
        type=Path,
        default=default_runs_dir(),
        metavar="DIR",
        help="where run directories are (default: $PTYCHO_DIST_RUNS_DIR, else ./runs)",
    )


def takes_run(command: argparse.ArgumentParser) -> None:
    """RUN, and `--runs-dir`."""
    command.add_argument("run", metavar="RUN", help="run id, its beginning, or its directory")
    knows_runs(command)


def may_take_run(command: argparse.ArgumentParser) -> None:
    """RUN, which is the newest one where nobody names any, and `--runs-dir`."""
    command.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="run id, its beginning, or its directory (default: the newest)",
    )
    knows_runs(command)


def chooses_cluster(command: Arguments, otherwise: str) -> None:
    """`--cluster`, which is `otherwise` where nobody says so."""
    command.add_argument(
        "--cluster", choices=("slurm", "local"), help=f"where to run (default: {otherwise})"
    )


def waits(command: Arguments) -> None:
    """`--wait`."""
    command.add_argument(
        "--wait", action="store_true", help="show progress; exit 0 when finished, else 1"
    )


def speaks_json(command: argparse.ArgumentParser) -> None:
    """`--json`."""
    command.add_argument("--json", action="store_true", help="machine-readable output")
