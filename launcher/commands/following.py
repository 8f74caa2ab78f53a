"""After a submission: say what was submitted, and with `--wait` stay until it is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.status.next_command import reference_to
from ptycho_dist.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED

if TYPE_CHECKING:  # submitit takes a fifth of a second to import
    from launcher.arrays.handover import ArraySubmission
    from launcher.control.submit import Submission
    from ptycho_dist.rundir.array import ArrayDirectory
    from ptycho_dist.rundir.layout import RunDirectory

SHOWN_JOBS = 6

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Submitted:
    """What was submitted, in the words of a run or of an array."""

    identity: dict[str, Any]
    """What `--json` prints of it."""
    headline: str
    path: Path
    subject: str
    pronoun: str
    watch: Callable[[Say], tuple[dict[str, Any], int]]
    """Watches until all is over and shows the end; returns what `--json` prints of it, and the exit
    code of the command."""


def follow(submission: Submission, *, wait: bool, as_json: bool) -> int:
    """Say which run was submitted, and with `wait` watch it.

    Returns:
        The exit code of the command: 0 submitted (with `wait`: finished), 1 the run failed, 130
        Ctrl-C.
    """
    run = submission.run
    identity = {
        "run_id": run.run_id,
        "job_id": submission.job_id,
        "cluster": submission.cluster,
        "path": str(run.path),
    }
    submitted = _Submitted(
        identity=identity,
        headline=f"submitted {run.run_id} ({submission.cluster} job {submission.job_id})",
        path=run.path,
        subject="the run continues",
        pronoun="it",
        watch=partial(_watch_run, run, as_json=as_json),
    )
    return _follow(submitted, submission.interrupted, wait=wait, as_json=as_json)


def follow_array(submission: ArraySubmission, *, wait: bool, as_json: bool) -> int:
    """Say which array or study was submitted, and with `wait` watch it.

    Returns:
        The exit code of the command: 0 submitted (with `wait`: all members have finished), 1 a
        member has not, 130 Ctrl-C.
    """
    array, ids = submission.array, submission.job_ids
    identity = {
        "array_id": array.array_id,
        "job_ids": ids,
        "cluster": submission.cluster,
        "path": str(array.path),
        "members": submission.members,
    }
    jobs = ", ".join(ids) if len(ids) <= SHOWN_JOBS else f"{ids[0]} ... {ids[-1]}"
    name, count = array.array_id, submission.members
    if submission.left:
        print(
            f"interrupted: {submission.left} of {count + submission.left} runs are not submitted; "
            f"`ptycho-launch resume {reference_to(array.path)}` submits them",
            file=sys.stderr,
        )
    submitted = _Submitted(
        identity=identity,
        headline=f"submitted {name}: {count} runs ({submission.cluster} job {jobs})",
        path=array.path,
        subject="the runs continue",
        pronoun="them",
        watch=partial(_watch_array, array, as_json=as_json),
    )
    return _follow(submitted, submission.interrupted, wait=wait, as_json=as_json)


def _follow(submitted: _Submitted, interrupted: bool, *, wait: bool, as_json: bool) -> int:
    """The frame of both: say it, watch it, and say how to find it again after Ctrl-C."""
    if as_json and not wait:
        print(json.dumps(submitted.identity, indent=2))
        return EXIT_INTERRUPTED if interrupted else 0
    say: Say = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    reference = reference_to(submitted.path)
    say(submitted.headline)
    say(f"directory: {submitted.path}")
    if not interrupted and not wait:
        say(f"follow {submitted.pronoun}: ptycho-launch status {reference} --watch")
        return 0
    if not interrupted:
        try:
            status, code = submitted.watch(say)
        except KeyboardInterrupt:
            interrupted = True
        else:
            if as_json:
                print(json.dumps({**submitted.identity, "status": status}, indent=2))
            return code
    say("")
    say(f"{submitted.subject} without this command")
    say(f"follow {submitted.pronoun}: ptycho-launch status {reference} --watch")
    say(f"end {submitted.pronoun}: ptycho-launch cancel {reference}")
    return EXIT_INTERRUPTED


def _watch_run(run: RunDirectory, say: Say, *, as_json: bool) -> tuple[dict[str, Any], int]:
    # importing rich takes as long as the rest of a submission that does not wait
    from rich.console import Console

    from launcher.status import result
    from launcher.watching.watch import watch

    messages = Console(stderr=as_json, soft_wrap=not sys.stdout.isatty())
    status = watch(run, messages)
    if status.state == "finished":
        result.show_result(run, messages)
        return status.to_json(), 0
    say(f"{status.state}: {status.cause}")
    say(f"why: ptycho-launch explain {reference_to(run.path)}")
    return status.to_json(), EXIT_RUN_FAILED


def _watch_array(array: ArrayDirectory, say: Say, *, as_json: bool) -> tuple[dict[str, Any], int]:
    from launcher.arrays.present import show_array
    from launcher.status.array_status import watch_array
    from launcher.text.console import console

    status = watch_array(array, say)
    if not as_json:
        show_array(status, console())
    return status.to_json(), 0 if status.finished else EXIT_RUN_FAILED
