"""`ptycho-launch doctor`: what this login node has, for a support ticket."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import knows_runs, speaks_json

SUMMARY = "report what this login node has, without secrets, for a support ticket"
EXAMPLE = "ptycho-launch doctor > report.txt"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take `--runs-dir`, whose storage is looked at."""
    knows_runs(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    from launcher.doctor.doctor import examine, report_lines

    report = examine(options.runs_dir)
    print(json.dumps(report, indent=2) if options.json else "\n".join(report_lines(report)))
    return 0
