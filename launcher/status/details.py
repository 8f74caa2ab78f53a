"""All that `status` shows of one run: its state now, its attempts, and a warning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from launcher.status.history import REQUEUED, PastAttempt, history_of
from launcher.status.run_status import RunStatus
from launcher.text.durations import clock
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import count
from ptycho_dist.rundir.layout import RunDirectory


@dataclass(frozen=True)
class RunDetails:
    """One run at one moment."""

    status: RunStatus
    history: list[PastAttempt]
    warning: str
    """What a person should know about the end of the run; empty: nothing."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status --json` (specs/status.schema.json)."""
        history = [asdict(attempt) for attempt in self.history]
        return {**self.status.to_json(), "history": history, "warning": self.warning}


def details_of(run: RunDirectory, status: RunStatus) -> RunDetails:
    """Add the attempts of a run, and a warning, to its status.

    Raises:
        UserError: the run directory is damaged.
    """
    history = history_of(run)
    return RunDetails(status, history, _of_walltime(run, status, history))


def _of_walltime(run: RunDirectory, status: RunStatus, history: list[PastAttempt]) -> str:
    if not status.beyond_walltime:
        return ""
    what = (
        f"the walltime ends at {clock(status.walltime_ends_at)}, before the training will "
        f"({clock(status.training_ends_at)}): it will stop there with a checkpoint"
    )
    limit = _restarts_at_walltime(run)
    if limit == 0:
        return (
            f"{what}; it will not start again, because requeue.on does not name timeout: continue "
            "with `ptycho-launch resume`"
        )
    if limit is None:
        return what
    used = 0
    for attempt in reversed(history):
        if attempt.begun != REQUEUED:
            break
        used += 1
    if used >= limit:
        return f"{what}; its {limit} restarts are used up: continue with `ptycho-launch resume`"
    return f"{what} and be requeued (restart {used + 1} of {limit})"


def _restarts_at_walltime(run: RunDirectory) -> int | None:
    """How often a walltime may be followed by another start; None: the plan does not say."""
    try:
        policy = run.plan().requeue
    except UserError:
        return None
    causes = policy.get("on")
    if not isinstance(causes, list):
        return None
    return count(policy, "max_restarts") if "timeout" in causes else 0
