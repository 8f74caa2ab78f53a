"""`ptycho-launch plan`: what would be submitted."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from launcher.commands.arguments import knows_runs, speaks_json, takes_axes, takes_config

SUMMARY = "show what would be submitted, without submitting it"
EXAMPLE = "ptycho-launch plan run.yaml --set resources.nodes=4 --json"
RUN_ID_PLACEHOLDER = "RUN-ID"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG and the axes of an array."""
    takes_config(command)
    takes_axes(command)
    knows_runs(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the plan and the batch script of the run, or of the array."""
    if options.array or options.throttle is not None:
        return _plan_array(options)
    from launcher.planning.load import load_and_plan
    from launcher.planning.present import plan_lines
    from launcher.planning.script import render
    from launcher.preflight.requeue_notes import site_notes

    _, plan = load_and_plan(options)
    placeholder = Path(os.path.abspath(options.runs_dir)) / f"{plan.name}-{RUN_ID_PLACEHOLDER}"  # noqa: PTH100
    script = render(plan, placeholder)
    notes = site_notes(plan)
    if options.json:
        print(json.dumps({**plan.to_json(), "notes": notes, "script": script}, indent=2))
    else:
        print("\n".join(plan_lines(plan, notes, script)))
    return 0


def _plan_array(options: argparse.Namespace) -> int:
    from launcher.arrays.plan import plan_array
    from launcher.arrays.present import array_plan_lines
    from launcher.arrays.preview import preview
    from launcher.planning.present import plan_lines
    from launcher.preflight.requeue_notes import site_notes

    planned = plan_array(options.config, options.overrides, options.array, options.throttle)
    shown = preview(planned, options.runs_dir)
    notes = site_notes(planned.shared)
    if options.json:
        record = {**planned.shared.to_json(), "array": shown.to_json(planned), "notes": notes}
        print(json.dumps({**record, "script": shown.script}, indent=2))
    else:
        print("\n".join(array_plan_lines(planned, shown.parts)))
        print("\n".join(plan_lines(planned.shared, notes, shown.script)))
    return 0
