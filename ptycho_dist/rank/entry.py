"""One rank from its first line to its exit code: attempt, environment, threads, errors.

Importing torch takes seconds, and a rank must show that it lives before that. Modules that need
torch are therefore imported only after the heartbeat says `starting`.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import NoReturn

from ptycho_dist.attempts.attempt import Attempt, end_attempt
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, JoinError, RunError, UserError
from ptycho_dist.legacy import LegacyScope
from ptycho_dist.rank.exits import exit_now, report_crash, report_failure
from ptycho_dist.rank.started_rank import StartedRank
from ptycho_dist.rundir.frozen import require_frozen_code
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LedgerWriter, rank_writer
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.own_attempt import attempt_of
from ptycho_dist.runtime.rank_heartbeat import RankHeartbeat
from ptycho_dist.runtime.stop import StopRequest
from ptycho_dist.runtime.threads import announce_threads
from ptycho_dist.runtime.torch_required import require_torch


def run_rank(arguments: list[str], stop: StopRequest) -> NoReturn:
    """Run one rank to its end, and leave the process with its exit code.

    Exit codes: 0 finished, 75 stopped on request, 2 a mistake of the user, 1 anything else.

    Args:
        arguments: only the run directory.
        stop: the stop request, whose signal handlers are installed.
    """
    heartbeat: RankHeartbeat | None = None
    try:
        if len(arguments) != 1:
            raise UserError("usage: python -m ptycho_dist.rank RUN_DIR")
        run = RunDirectory(Path(arguments[0]))
        environment = RankEnvironment.detect()
        heartbeat = RankHeartbeat(run, environment.rank, environment.node)
        code = _take_part_in_attempt(run, environment, heartbeat, stop)
    except UserError as error:
        code = report_failure(heartbeat, str(error), error.exit_code)
    except JoinError as error:
        code = report_failure(heartbeat, str(error), EXIT_RUN_FAILED, error.table)
    except RunError as error:
        code = report_failure(heartbeat, str(error), EXIT_RUN_FAILED)
    except BaseException as error:
        code = report_crash(heartbeat, error)
    exit_now(code)


def _take_part_in_attempt(
    run: RunDirectory, environment: RankEnvironment, heartbeat: RankHeartbeat, stop: StopRequest
) -> int:
    """Find or begin the attempt of this rank, and take part in it; return the exit code.

    A rank that began the attempt records its end too: no batch script does so then.
    """
    if environment.source == "torchrun":  # the attempt is handed over through a store of torch
        require_torch()
    own = attempt_of(run, environment)
    heartbeat.attempt = own.attempt.number
    if not own.begun_here:
        return _start(run, environment, own.attempt, heartbeat, stop)
    code = EXIT_RUN_FAILED
    try:
        code = _start(run, environment, own.attempt, heartbeat, stop)
    except UserError as error:
        code = error.exit_code
        raise
    finally:
        end_attempt(run, own.attempt.number, code, by_itself=False)
    return code


def _start(
    run: RunDirectory,
    environment: RankEnvironment,
    attempt: Attempt,
    heartbeat: RankHeartbeat,
    stop: StopRequest,
) -> int:
    """Check everything that can be checked without torch, then join and train."""
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s rank {environment.rank} %(levelname)s %(message)s",
    )
    warnings.showwarning = _warning_in_one_line
    heartbeat.write("starting")
    require_frozen_code(run)
    config = run.config()
    plan = run.plan()
    environment.require(plan.world)
    announce_threads(plan.world.threads_per_rank)
    legacy = config.legacy
    # CONFIG-001: the legacy globals are set before data is read and before anything looks at them
    with LegacyScope(config, module=legacy.module, attribute=legacy.attribute) as scope:
        return _join_and_train(
            StartedRank(
                run=run,
                plan=plan,
                config=config,
                environment=environment,
                attempt=attempt,
                heartbeat=heartbeat,
                stop=stop,
                scope=scope,
            )
        )


def _join_and_train(started: StartedRank) -> int:
    require_torch()
    # Imported here because these modules import torch, see above.
    from ptycho_dist.rank.guarded_training import leave_together, train_under_guard
    from ptycho_dist.rank.joining import join_others, join_process_group, prepare

    prepared = prepare(started)
    joined = join_others(started, prepared)
    writer = rank_writer(started.environment.rank)
    with LedgerWriter(started.run, started.attempt.number, writer) as ledger:
        join_process_group(started, prepared, joined, ledger)
        outcome = train_under_guard(started, prepared.device, joined, ledger)
        leave_together(joined.store, started.environment, outcome)
    return EXIT_STOPPED if outcome == "stopped" else 0


def _warning_in_one_line(message: Warning | str, *_: object, **__: object) -> None:
    logging.warning("%s", " ".join(str(message).split()))
