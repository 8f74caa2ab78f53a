"""The life of one rank: environment, threads, device, rendezvous, training, end."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ptycho_dist.config.load import config_digest
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, RunError, UserError
from ptycho_dist.rundir import Attempt, LedgerWriter, RunDirectory, end_attempt
from ptycho_dist.rundir.ledger import rank_writer
from ptycho_dist.rundir.planned import plan_digest, require_planned_data
from ptycho_dist.runtime.attempt import attempt_of
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.report import RankReport
from ptycho_dist.runtime.stop import StopRequest
from ptycho_dist.runtime.threads import announce_threads

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
            raise UserError("usage: python -m ptycho_dist.runtime RUN_DIR")
        run = RunDirectory(Path(arguments[0]))
        environment = RankEnvironment.detect()
        report = RankReport(run, environment.rank, environment.node)
        code = _begin_live_end(run, environment, report, stop)
    except UserError as error:
        code = _fail(report, str(error), error.exit_code)
    except RunError as error:
        code = _fail(report, str(error), EXIT_RUN_FAILED)
    except BaseException as error:
        code = _crash(report, error)
    _leave(code)


def _begin_live_end(
    run: RunDirectory, environment: RankEnvironment, report: RankReport, stop: StopRequest
) -> int:
    if environment.source == "torchrun":  # its store is torch's
        _require_torch()
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
        end_attempt(run, own.attempt.number, code)
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
    report.say("starting")
    config = run.config()
    world = run.world()
    environment.require(world)
    announce_threads(world.threads_per_rank)

    # Everything heavy is imported here, after the rank has shown that it lives.
    _require_torch()
    from ptycho_dist.runtime.accelerator import resolve_device
    from ptycho_dist.runtime.process_group import address_towards, open_process_group
    from ptycho_dist.runtime.rendezvous import Hello, join_world
    from ptycho_dist.runtime.threads import set_threads
    from ptycho_dist.runtime.versions import package_versions

    threads = set_threads(world.threads_per_rank)
    device = resolve_device(
        config.execution.accelerator,
        local_rank=environment.local_rank,
        tasks_per_node=world.tasks_per_node,
        ranks=world.ranks,
    )
    report.say("joining")
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
            **package_versions(),
        },
    )
    joined = join_world(run, environment, attempt, hello, config.execution.join_timeout_s)
    with LedgerWriter(run, attempt.number, rank_writer(environment.rank)) as ledger:
        ledger.append(
            "joined",
            rank=environment.rank,
            node=environment.node,
            local_rank=environment.local_rank,
            pid=os.getpid(),
            source=environment.source,
            device=device.kind,
            device_name=device.name,
            threads=threads,
        )
        timeout_s = config.execution.collective_timeout_s
        joined.store.set_timeout(timedelta(seconds=timeout_s))  # the others may wait for rank 0
        if world.ranks > 1 or config.execution.strategy == "ddp":
            open_process_group(environment, joined, device.backend, timeout_s)
        from ptycho_dist.training.fit import train

        try:
            outcome = train(run, config, world, environment, joined, device, stop, ledger, report)
        except BaseException as error:
            ledger.append("failed", reason=f"{type(error).__name__}: {error}"[:2000])
            raise
        _leave_together(joined.store, environment.world_size, outcome)
        return EXIT_STOPPED if outcome == "stopped" else 0


def _leave_together(store: Store, world_size: int, outcome: str) -> None:
    """Wait, within a limit, until every rank is at its very end.

    srun kills the other ranks as soon as one has left with 75: they must have nothing left to do.
    """
    deadline = time.monotonic() + 20
    try:
        store.add("at-the-end", 1)
        while time.monotonic() < deadline:
            if store.add("at-the-end", 0) >= world_size:
                return
            time.sleep(0.02)
    except RuntimeError:
        return  # rank 0 and its store have left: it saw every rank at the end
    logging.warning("some ranks did not come to the end (%s) within 20 s", outcome)


def _require_torch() -> None:
    """POLICY-001: without torch nothing can be done, and the reason must reach the other ranks."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"POLICY-001: torch cannot be imported by {sys.executable}: {reason}; install it in "
            "the ranks' environment: pip install 'torch>=2.2'"
        ) from None


def _crash(report: RankReport | None, error: BaseException) -> int:
    traceback.print_exception(error)
    first_line = (str(error).splitlines() or [""])[0]
    return _fail(report, f"{type(error).__name__}: {first_line}", EXIT_RUN_FAILED)


def _fail(report: RankReport | None, reason: str, code: int) -> int:
    print(f"error: {reason}", file=sys.stderr)
    if report is not None:
        report.say("failed", reason=reason)
    return code


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)
