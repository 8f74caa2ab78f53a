"""The life of one rank: environment, threads, device, rendezvous, training, end."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
import warnings
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ptycho_dist.attempts.attempt import Attempt, end_attempt
from ptycho_dist.config.load import config_digest, config_values
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.data.planned import plan_digest, require_planned_data
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, JoinError, RunError, UserError
from ptycho_dist.legacy import LegacyScope, require_same_on_all_ranks
from ptycho_dist.rundir.frozen import require_frozen_code
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LedgerWriter, rank_writer
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.own_attempt import attempt_of
from ptycho_dist.runtime.rank_heartbeat import RankReport
from ptycho_dist.runtime.start_up import StartUp
from ptycho_dist.runtime.stop import StopRequest
from ptycho_dist.runtime.threads import announce_threads
from ptycho_dist.runtime.torch_required import require_torch

if TYPE_CHECKING:  # torch takes seconds: the rank shows that it lives first
    from torch.distributed import Store


def run_rank(arguments: list[str], stop: StopRequest) -> NoReturn:
    """Run one rank to its end and leave with its exit code, whatever happens.

    Exit codes: 0 finished, 75 stopped on request, 2 a person's mistake, 1 anything else. The
    process is left at once, without destructors: a process group that waits for a rank that is
    gone must not keep this one.
    """
    report: RankReport | None = None
    try:
        if len(arguments) != 1:
            raise UserError("usage: python -m ptycho_dist.rank RUN_DIR")
        run = RunDirectory(Path(arguments[0]))
        environment = RankEnvironment.detect()
        report = RankReport(run, environment.rank, environment.node)
        code = _begin_live_end(run, environment, report, stop)
    except UserError as error:
        code = _fail(report, str(error), error.exit_code)
    except JoinError as error:
        code = _fail(report, str(error), EXIT_RUN_FAILED, error.table)
    except RunError as error:
        code = _fail(report, str(error), EXIT_RUN_FAILED)
    except BaseException as error:
        code = _crash(report, error)
    _leave(code)


def _begin_live_end(
    run: RunDirectory, environment: RankEnvironment, report: RankReport, stop: StopRequest
) -> int:
    if environment.source == "torchrun":  # its store is torch's
        require_torch()
    own = attempt_of(run, environment)
    report.attempt = own.attempt.number
    if not own.begun_here:
        return _live(run, environment, own.attempt, report, stop)
    code = EXIT_RUN_FAILED
    try:
        code = _live(run, environment, own.attempt, report, stop)
    except UserError as error:
        code = error.exit_code
        raise
    finally:
        end_attempt(run, own.attempt.number, code, by_itself=False)
    return code


def _live(
    run: RunDirectory,
    environment: RankEnvironment,
    attempt: Attempt,
    report: RankReport,
    stop: StopRequest,
) -> int:
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s rank {environment.rank} %(levelname)s %(message)s",
    )
    warnings.showwarning = _warning_in_one_line
    report.say("starting")
    require_frozen_code(run)
    config = run.config()
    world = run.world()
    environment.require(world)
    announce_threads(world.threads_per_rank)

    with LegacyScope(
        config, module=config.legacy.module, attribute=config.legacy.attribute
    ) as scope:  # CONFIG-001: before any data is read, or any legacy consumer could look
        return _join_and_train(run, config, world, environment, attempt, scope, report, stop)


def _join_and_train(
    run: RunDirectory,
    config: RunConfig,
    world: World,
    environment: RankEnvironment,
    attempt: Attempt,
    scope: LegacyScope,
    report: RankReport,
    stop: StopRequest,
) -> int:
    start_up = StartUp()
    # Everything heavy is imported here, after the rank has shown that it lives.
    require_torch()
    from ptycho_dist.runtime.accelerator import resolve_device
    from ptycho_dist.runtime.agreement import Agreement
    from ptycho_dist.runtime.guard import RankGuard
    from ptycho_dist.runtime.joined_rank import JoinedRank
    from ptycho_dist.runtime.process_group import address_towards, open_process_group
    from ptycho_dist.runtime.recorded_variables import variables_for_the_record
    from ptycho_dist.runtime.rendezvous import Hello, join_world
    from ptycho_dist.runtime.threads import set_threads
    from ptycho_dist.runtime.versions import package_versions, torch_libraries
    from ptycho_dist.training.loggers import require_logger

    require_logger(config.execution.logger_backend)
    threads = set_threads(world.threads_per_rank)
    device = resolve_device(
        config.execution.accelerator,
        local_rank=environment.local_rank,
        tasks_per_node=world.tasks_per_node,
        ranks=world.ranks,
    )
    start_up.spent("imports")
    report.say("joining")
    versions = {**package_versions(), **torch_libraries()}
    hello = Hello(
        rank=environment.rank,
        node=environment.node,
        address=address_towards(attempt.host),
        must_agree={
            "accelerator": f"{device.kind} ({device.name})",
            "config": config_digest(config)[:16],
            "plan": plan_digest(run)[:16],
            **require_planned_data(run, config),
            "attempt": attempt.token,
            "threads per rank": str(threads),
            **versions,
        },
        config=config_values(config),
        device_identity=device.identity,
    )
    joined = join_world(run, environment, attempt, hello, config.execution.join_timeout_s)
    with LedgerWriter(run, attempt.number, rank_writer(environment.rank)) as ledger:
        timeout_s = config.execution.collective_timeout_s
        joined.store.set_timeout(timedelta(seconds=timeout_s))  # the others may wait for rank 0
        grouped = world.ranks > 1 or config.execution.strategy == "ddp"
        ledger.append(
            "joined",
            rank=environment.rank,
            node=environment.node,
            local_rank=environment.local_rank,
            pid=os.getpid(),
            source=environment.source,
            device=device.kind,
            device_name=device.name,
            strategy="ddp" if grouped else "single device",
            backend=device.backend if grouped else None,
            threads=threads,
            versions=versions,
            variables=variables_for_the_record(os.environ),
        )
        ledger.append("legacy_scope", mode=scope.mode, address=scope.address, digest=scope.digest)
        if grouped:
            open_process_group(environment, joined, device.backend, timeout_s)
        agreement = Agreement(world.ranks)
        guard = RankGuard(
            environment.rank,
            joined.nodes,
            stop,
            limit_s=timeout_s,
            lead_s=run.plan().signal_lead_s,
            leave=partial(_leave_early, ledger, report, stop),
            fail=partial(_fail_stalled, ledger, report),
        )
        try:
            require_same_on_all_ranks(scope, agreement.texts)
            start_up.spent("rendezvous")
            from ptycho_dist.training.fit import train

            start_up.spent("imports")
            guard.start(attempt.host, attempt.port)
            rank = JoinedRank(
                environment,
                joined,
                device,
                agreement,
                stop,
                ledger,
                report,
                guard.moved,
                guard.alive,
                start_up,
            )
            outcome = train(run, config, world, rank, scope)
        except BaseException as error:
            guard.end()
            reason = f"{type(error).__name__}: {error}"[:2000]
            with suppress(OSError):
                ledger.append("failed", reason=reason, step=report.step)
            raise
        guard.end()
        _leave_together(joined.store, environment, outcome)
        return EXIT_STOPPED if outcome == "stopped" else 0


def _leave_early(ledger: LedgerWriter, report: RankReport, stop: StopRequest, why: str) -> None:
    """From the guard's thread: there is no time for a checkpoint; the last good one stands."""
    with suppress(OSError):
        ledger.append("left", why=why, signal=stop.reason, step=report.step)
    report.say("stopped", reason=f"left without a new checkpoint: {why}")
    logging.warning("leaves with the last good checkpoint: %s", why)
    _leave(EXIT_STOPPED)


def _fail_stalled(
    ledger: LedgerWriter, report: RankReport, reason: str, silent_nodes: list[str]
) -> None:
    """From the guard's thread: the main one waits for a rank that does not come."""
    with suppress(OSError):
        ledger.append("stalled", reason=reason, silent_nodes=silent_nodes, step=report.step)
    _leave(_fail(report, reason, EXIT_RUN_FAILED))


def _leave_together(store: Store, environment: RankEnvironment, outcome: str) -> None:
    """Wait, within a limit, until every rank is at its very end.

    srun kills the other ranks as soon as one has left with 75: they must have nothing left to do.
    When all have finished, rank 0 leaves last: its store goes with it, and torch would fill the
    others' logs with that.
    """
    deadline = time.monotonic() + 20
    try:
        _wait_for_all(store, "at-the-end", environment.world_size, deadline)
        if outcome == "finished":
            wanted = environment.world_size if environment.rank == 0 else 0
            _wait_for_all(store, "leaving", wanted, min(deadline, time.monotonic() + 2))
    except TimeoutError:
        logging.warning("some ranks did not come to the end (%s) within 20 s", outcome)
    except RuntimeError:
        return  # rank 0 and its store have left: it saw every rank at the end


def _wait_for_all(store: Store, key: str, ranks: int, deadline: float) -> None:
    store.add(key, 1)
    while store.add(key, 0) < ranks:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def _warning_in_one_line(message: Warning | str, *_: object, **__: object) -> None:
    logging.warning("%s", " ".join(str(message).split()))


def _crash(report: RankReport | None, error: BaseException) -> int:
    traceback.print_exception(error)
    first_line = (str(error).splitlines() or [""])[0]
    return _fail(report, f"{type(error).__name__}: {first_line}", EXIT_RUN_FAILED)


def _fail(report: RankReport | None, reason: str, code: int, table: str = "") -> int:
    print(f"error: {reason}", file=sys.stderr)
    if table:
        print(table, file=sys.stderr)
    if report is not None:
        report.say("failed", reason=reason)
    return code


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)
