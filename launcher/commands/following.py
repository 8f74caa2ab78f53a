"""After a submission: say what was submitted, and with `--wait` stay until it is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ptycho_dist.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED

if TYPE_CHECKING:  # submitit takes a fifth of a second, and most commands do without
    from launcher.control.submit import Submission


def follow(submission: Submission, *, wait: bool, as_json: bool) -> int:
    """Say what was submitted; returns the exit code of the command."""
    run = submission.run
    identity = {
        "run_id": run.run_id,
        "job_id": submission.job_id,
        "cluster": submission.cluster,
        "path": str(run.path),
    }
    if as_json and not wait:
        print(json.dumps(identity, indent=2))
        return EXIT_INTERRUPTED if submission.interrupted else 0
    say = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    say(f"submitted {run.run_id} ({submission.cluster} job {submission.job_id})")
    say(f"directory: {run.path}")
    if submission.interrupted:
        return _goes_on(run.run_id, say)
    if not wait:
        say(f"follow it: ptycho-launch status {run.run_id} --watch")
        return 0
    # rich takes as long as all else of a submission that nobody waits for
    from rich.console import Console

    from launcher.status import result
    from launcher.watching.watch import watch

    messages = Console(stderr=as_json, soft_wrap=not sys.stdout.isatty())
    try:
        status = watch(run, messages)
    except KeyboardInterrupt:
        return _goes_on(run.run_id, say)
    if as_json:
        print(json.dumps({**identity, "status": status.to_json()}, indent=2))
    if status.state == "finished":
        result.show_result(run, messages)
        return 0
    say(f"{status.state}: {status.cause}")
    say(f"why: ptycho-launch explain {run.run_id}")
    return EXIT_RUN_FAILED


def _goes_on(run_id: str, say: Callable[[str], None]) -> int:
    say("")
    say(f"the run goes on. Come back: ptycho-launch status {run_id} --watch")
    say(f"                 end it:    ptycho-launch cancel {run_id}")
    return EXIT_INTERRUPTED
