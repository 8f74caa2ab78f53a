"""`ptycho-launch resume`: continue a run that is over."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import (
    chooses_cluster,
    sets_fields,
    speaks_json,
    takes_run,
    waits,
)

SUMMARY = "resume an unfinished run or array from its newest checkpoint"
EXAMPLE = "ptycho-launch resume fly64-20260714-101500-3f9a --wait"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN, where to run, and what is to change."""
    takes_run(command)
    chooses_cluster(command)
    waits(command)
    sets_fields(command)
    command.add_argument(
        "--allow-resize",
        action="store_true",
        help="allow another number of ranks or threads; the result is then not bit-identical",
    )
    command.add_argument(
        "--moved",
        action="store_true",
        help="accept that the run directory was moved here; nothing may run in the old place",
    )
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Submit what has not finished again; with `--wait` follow it."""
    from launcher.arrays.resume import resume_array
    from launcher.commands.following import follow, follow_array
    from launcher.commands.which_run import RESUMABLE, run_or_array_to
    from launcher.control.changes import Changes
    from launcher.control.resume import resume
    from launcher.scaling.study.resume import resume_study
    from ptycho_dist.rundir.array import ArrayDirectory

    changes = Changes(options.overrides, options.allow_resize, options.moved)
    found = run_or_array_to("resume", RESUMABLE, options.runs_dir, options.run)
    if isinstance(found, ArrayDirectory):
        resume_members = resume_study if found.study_json.is_file() else resume_array
        submitted = resume_members(found, options.cluster, changes)
        return follow_array(submitted, wait=options.wait, as_json=options.json)
    submission = resume(found, options.cluster, changes)
    return follow(submission, wait=options.wait, as_json=options.json)
