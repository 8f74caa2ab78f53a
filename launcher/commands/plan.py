"""`ptycho-launch plan`: what would be submitted."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from launcher.commands.arguments import knows_runs, speaks_json, takes_config

SUMMARY = "show what would be submitted, and submit nothing"
EXAMPLE = "ptycho-launch plan run.yaml --set resources.nodes=4 --json"
RUN_ID_PLACEHOLDER = "RUN-ID"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_config(command)
    knows_runs(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    from launcher.commands.loading import load_and_plan
    from launcher.present_plan import plan_lines
    from launcher.render import render
    from launcher.site_notes import site_notes

    _, plan = load_and_plan(options)
    placeholder = Path(os.path.abspath(options.runs_dir)) / f"{plan.name}-{RUN_ID_PLACEHOLDER}"  # noqa: PTH100
    script = render(plan, placeholder)
    notes = site_notes(plan)
    if options.json:
        print(json.dumps({**plan.to_json(), "notes": notes, "script": script}, indent=2))
    else:
        print("\n".join(plan_lines(plan, notes, script)))
    return 0
