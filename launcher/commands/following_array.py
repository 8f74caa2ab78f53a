"""After the submission of an array: say what was submitted, and with `--wait` stay to its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ptycho_dist.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED

if TYPE_CHECKING:  # submitit takes a fifth of a second, and most commands do without
    from launcher.arrays.submit import ArraySubmission

SHOWN_JOBS = 6


def follow_array(submission: ArraySubmission, *, wait: bool, as_json: bool) -> int:
    """Say what was submitted; returns the exit code of the command: 0 where all have finished."""
    array = submission.array
    identity = {
        "array_id": array.array_id,
        "job_ids": submission.job_ids,
        "cluster": submission.cluster,
        "path": str(array.path),
        "members": submission.members,
    }
    if as_json and not wait:
        print(json.dumps(identity, indent=2))
        return EXIT_INTERRUPTED if submission.interrupted else 0
    say = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    ids = submission.job_ids
    jobs = ", ".join(ids) if len(ids) <= SHOWN_JOBS else f"{ids[0]} ... {ids[-1]}"
    say(f"submitted {array.array_id}: {submission.members} runs ({submission.cluster} job {jobs})")
    say(f"directory: {array.path}")
    if submission.interrupted:
        return _goes_on(array.array_id, say)
    if not wait:
        say(f"follow them: ptycho-launch status {array.array_id} --watch")
        return 0
    # rich takes as long as all else of a submission that nobody waits for
    from launcher.arrays.present import show_array
    from launcher.status.array_status import watch_array
    from launcher.text.console import console

    try:
        status = watch_array(array, say)
    except KeyboardInterrupt:
        return _goes_on(array.array_id, say)
    if as_json:
        print(json.dumps({**identity, "status": status.to_json()}, indent=2))
    else:
        show_array(status, console())
    return 0 if status.finished else EXIT_RUN_FAILED


def _goes_on(array_id: str, say: Callable[[str], None]) -> int:
    say("")
    say(f"the runs go on. Come back: ptycho-launch status {array_id} --watch")
    say(f"                 end them:  ptycho-launch cancel {array_id}")
    return EXIT_INTERRUPTED
