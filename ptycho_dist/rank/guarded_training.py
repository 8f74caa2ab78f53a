"""Trains a rank that has joined, under its guard, and lets all ranks leave together."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial

from torch.distributed import Store

from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED
from ptycho_dist.legacy import require_same_on_all_ranks
from ptycho_dist.rank.exits import exit_now, report_failure
from ptycho_dist.rank.started_rank import StartedRank
from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.runtime.accelerator import Device
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.guard import RankGuard
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.runtime.rendezvous import JoinedWorld

END_TOGETHER_S = 20
"""Seconds that a rank waits at its end for the others."""
RANK_ZERO_LAST_S = 2
"""Seconds that rank 0 waits, after that, for the others to close their connections."""


def train_under_guard(
    started: StartedRank, device: Device, joined: JoinedWorld, ledger: LedgerWriter
) -> str:
    """Train while the guard watches; return the outcome, `finished` or `stopped`.

    An error is noted in the ledger and raised again.
    """
    agreement = Agreement(started.plan.world.ranks)
    guard = RankGuard(
        started.environment.rank,
        joined.nodes,
        started.stop,
        limit_s=started.config.execution.collective_timeout_s,
        lead_s=started.plan.signal_lead_s,
        leave=partial(_leave_early, started, ledger),
        fail=partial(_fail_stalled, started, ledger),
    )
    try:
        require_same_on_all_ranks(started.scope, agreement.texts)
        started.start_up.spent("rendezvous")
        # Lightning takes seconds to import: the ranks have met and compared versions before.
        from ptycho_dist.training.fit import train
        from ptycho_dist.training.task import TrainingTask

        started.start_up.spent("imports")
        guard.start(started.attempt.host, started.attempt.port)
        rank = JoinedRank(
            environment=started.environment,
            joined=joined,
            device=device,
            agreement=agreement,
            stop=started.stop,
            ledger=ledger,
            heartbeat=started.heartbeat,
            moved=guard.moved,
            alive=guard.alive,
            start_up=started.start_up,
        )
        outcome = train(
            TrainingTask(started.run, started.plan, started.config, rank, started.scope)
        )
    except BaseException as error:
        guard.end()
        reason = f"{type(error).__name__}: {error}"[:2000]
        with suppress(OSError):
            ledger.append("failed", reason=reason, step=started.heartbeat.step)
        raise
    guard.end()
    return outcome


def leave_together(store: Store, environment: RankEnvironment, outcome: str) -> None:
    """Wait, within a limit, until every rank is at its very end.

    srun kills the other ranks as soon as one has left with exit code 75: they must have nothing
    left to do. When all have finished, rank 0 leaves last: its store goes with it, and torch would
    fill the logs of the others with complaints about that.
    """
    deadline = time.monotonic() + END_TOGETHER_S
    try:
        _wait_for_all(store, "at-the-end", environment.world_size, deadline)
        if outcome == "finished":
            wanted = environment.world_size if environment.rank == 0 else 0
            deadline = min(deadline, time.monotonic() + RANK_ZERO_LAST_S)
            _wait_for_all(store, "leaving", wanted, deadline)
    except TimeoutError:
        logging.warning(
            "some ranks did not reach the end (%s) within %d s", outcome, END_TOGETHER_S
        )
    except RuntimeError:
        return  # rank 0 has left with its store: it saw every rank at the end


def _wait_for_all(store: Store, key: str, ranks: int, deadline: float) -> None:
    store.add(key, 1)
    while store.add(key, 0) < ranks:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def _leave_early(started: StartedRank, ledger: LedgerWriter, why: str) -> None:
    """End the process without a new checkpoint, as there is no time; called by the guard's thread.

    The last good checkpoint is kept.
    """
    heartbeat = started.heartbeat
    with suppress(OSError):
        ledger.append("left", why=why, signal=started.stop.reason, step=heartbeat.step)
    heartbeat.write("stopped", reason=f"left without a new checkpoint: {why}")
    logging.warning("leaves without a new checkpoint; the last good one is kept: %s", why)
    exit_now(EXIT_STOPPED)


def _fail_stalled(
    started: StartedRank, ledger: LedgerWriter, reason: str, silent_nodes: list[str]
) -> None:
    """End the process, whose main thread waits for another rank; called by the guard's thread."""
    heartbeat = started.heartbeat
    with suppress(OSError):
        ledger.append("stalled", reason=reason, silent_nodes=silent_nodes, step=heartbeat.step)
    exit_now(report_failure(heartbeat, reason, EXIT_RUN_FAILED))
