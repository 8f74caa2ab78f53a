"""`ptycho-launch resume`: go on with a run that is over."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import (
    chooses_cluster,
    sets_fields,
    speaks_json,
    takes_run,
    waits,
)

SUMMARY = "go on with a stopped run from its newest checkpoint"
EXAMPLE = "ptycho-launch resume fly64-20260714-101500-3f9a --wait"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)
    chooses_cluster(command, "the same as before")
    waits(command)
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


def run(options: argparse.Namespace) -> int:
    from launcher.arrays.resume import resume_array
    from launcher.commands.following import follow, follow_array
    from launcher.control.resume import Changes, resume
    from launcher.scaling.study.resume import resume_study
    from ptycho_dist.rundir.array import ArrayDirectory, find_run_or_array

    changes = Changes(options.overrides, options.allow_resize, options.moved)
    found = find_run_or_array(options.runs_dir, options.run)
    if isinstance(found, ArrayDirectory):
        go_on = resume_study if found.study_json.is_file() else resume_array
        submitted = go_on(found, options.cluster, changes)
        return follow_array(submitted, wait=options.wait, as_json=options.json)
    submission = resume(found, options.cluster, changes)
    return follow(submission, wait=options.wait, as_json=options.json)
