"""The command line of `ptycho-launch`: every command, flag and example."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = {
    "validate": "ptycho-launch validate run.yaml",
    "plan": "ptycho-launch plan run.yaml --set resources.nodes=4 --json",
    "script": "ptycho-launch script run.yaml > job.sbatch && sbatch job.sbatch",
    "submit": "ptycho-launch submit run.yaml --cluster local --wait",
    "status": "ptycho-launch status fly64-20260714-101500-3f9a",
    "list": "ptycho-launch list --json",
    "logs": "ptycho-launch logs fly64-20260714-101500-3f9a --rank 0 -f",
    "cancel": "ptycho-launch cancel fly64-20260714-101500-3f9a",
    "verify": "ptycho-launch verify fly64-20260714-101500-3f9a",
    "drill": "ptycho-launch drill run.yaml --cluster local --ranks 2 --points mid-epoch,validation",
    "resume": "ptycho-launch resume fly64-20260714-101500-3f9a --wait",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser; `options.command` is the name of the command."""
    parser = argparse.ArgumentParser(
        prog="ptycho-launch",
        description="Train physics-informed ptychography networks, on this machine or on SLURM.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 your mistake, 3 cluster unreachable.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"Example: {EXAMPLES[name]}",
        )
        command.set_defaults(command=name)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    def takes_config(command: argparse.ArgumentParser) -> None:
        command.add_argument("config", type=Path, metavar="CONFIG", help="run.yaml")
        sets_fields(command)

    def sets_fields(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--set",
            action="append",
            default=[],
            dest="overrides",
            metavar="SECTION.FIELD=VALUE",
            help="override one value (repeatable)",
        )

    def knows_runs(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--runs-dir",
            type=Path,
            default=Path(os.environ.get("PTYCHO_DIST_RUNS_DIR", "runs")),
            metavar="DIR",
            help="where run directories are (default: $PTYCHO_DIST_RUNS_DIR, else ./runs)",
        )

    def takes_run(command: argparse.ArgumentParser) -> None:
        command.add_argument("run", metavar="RUN", help="run id, its beginning, or its directory")
        knows_runs(command)

    def chooses_cluster(command: argparse.ArgumentParser, otherwise: str) -> None:
        command.add_argument(
            "--cluster", choices=("slurm", "local"), help=f"where to run (default: {otherwise})"
        )
        command.add_argument(
            "--wait", action="store_true", help="show progress; exit 0 when finished, else 1"
        )

    def speaks_json(command: argparse.ArgumentParser) -> None:
        command.add_argument("--json", action="store_true", help="machine-readable output")

    command = add("validate", "check a config and name every fault")
    takes_config(command)
    command = add("plan", "show what would be submitted, and submit nothing")
    takes_config(command)
    knows_runs(command)
    speaks_json(command)
    command = add("script", "make the run directory and print its sbatch script")
    takes_config(command)
    knows_runs(command)
    command = add("submit", "submit a run")
    takes_config(command)
    knows_runs(command)
    chooses_cluster(command, "slurm where sbatch is on PATH, else local")
    speaks_json(command)
    command = add("status", "show what a run is doing")
    takes_run(command)
    speaks_json(command)
    command.add_argument("--watch", action="store_true", help="go on until the run is over")
    command = add("list", "list the runs")
    knows_runs(command)
    speaks_json(command)
    command = add("logs", "print what the ranks said")
    takes_run(command)
    command.add_argument("--rank", type=int, help="one rank alone (default: all)")
    command.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")
    command = add("verify", "prove that each sample was used once per epoch")
    takes_run(command)
    speaks_json(command)
    command = add(
        "drill",
        "interrupt a short run with real signals: does it resume exactly?",
    )
    takes_config(command)
    knows_runs(command)
    command.add_argument(
        "--cluster", choices=("slurm", "local"), help="where to run (default: as submit)"
    )
    command.add_argument(
        "--ranks", metavar="N,...", help="world sizes, one drill each (default: that of the config)"
    )
    command.add_argument(
        "--points",
        metavar="POINT,...",
        help="where to interrupt: mid-epoch, window (of accumulated micro-batches), epoch-end, "
        "validation, random (default: all that the run has)",
    )
    command.add_argument(
        "--signal",
        choices=("USR2", "TERM"),
        default="USR2",
        help="sent to one rank (default: USR2)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the random point (default: 0)")
    command.add_argument(
        "--limit-s", type=float, default=1800, metavar="S", help="for each run (default: 1800)"
    )
    command.add_argument("--keep", action="store_true", help="keep the runs of a drill that passed")
    command = add("cancel", "end a run: checkpoint if it can, within 30 s in any case")
    takes_run(command)
    command = add("resume", "go on with a stopped run from its newest checkpoint")
    takes_run(command)
    chooses_cluster(command, "the same as before")
    sets_fields(command)
    command.add_argument(
        "--allow-resize",
        action="store_true",
        help="go on with another number of ranks or threads, without the same bits",
    )
    command.add_argument(
        "--moved", action="store_true", help="the run directory was moved here; nothing runs there"
    )
    speaks_json(command)
    return parser
