"""The life of one rank: environment, threads, device, rendezvous, training, end."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ptycho_dist.config.load import config_digest
from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, UserError
from ptycho_dist.rundir import Attempt, LedgerWriter, RunDirectory, begin_attempt
from ptycho_dist.rundir.attempt import ATTEMPT_VARIABLE
from ptycho_dist.rundir.ledger import rank_writer
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
        code = _live(run, environment, report, stop)
    except UserError as error:
        code = _fail(report, str(error), error.exit_code)
    except BaseException as error:
        from ptycho_dist.runtime.rendezvous import JoinError

        if not isinstance(error, JoinError):
            traceback.print_exc()
        first_line = (str(error).splitlines() or [""])[0]
        kind = "" if isinstance(error, JoinError) else f"{type(error).__name__}: "
        code = _fail(report, kind + first_line, EXIT_RUN_FAILED)
    _leave(code)


def _live(
    run: RunDirectory, environment: RankEnvironment, report: RankReport, stop: StopRequest
) -> int:
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s rank {environment.rank} %(levelname)s %(message)s",
    )
    attempt = _attempt_of(run, environment)
    report.attempt = attempt.number
    report.say("starting")
    config = run.config()
    world = run.world()
    environment.require(world)
    announce_threads(world.threads_per_rank)

    # Everything heavy is imported here, after the rank has shown that it lives.
    from ptycho_dist.runtime.accelerator import resolve_device
    from ptycho_dist.runtime.process_group import open_process_group
    from ptycho_dist.runtime.rendezvous import Hello, join_world
    from ptycho_dist.runtime.threads import set_threads
    from ptycho_dist.runtime.versions import package_versions

    threads = set_threads(world.threads_per_rank)
    device = resolve_device(
        config.execution.accelerator, local_rank=environment.local_rank, ranks=world.ranks
    )
    report.say("joining")
    hello = Hello(
        rank=environment.rank,
        node=environment.node,
        must_agree={
            "accelerator": f"{device.kind} ({device.name})",
            "config": config_digest(config)[:16],
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
        open_process_group(
            environment, joined, device.backend, config.execution.collective_timeout_s
        )
        from ptycho_dist.training.fit import train

        try:
            outcome = train(run, config, world, environment, joined, device, stop, ledger, report)
        except BaseException as error:
            ledger.append("failed", reason=f"{type(error).__name__}: {error}"[:2000])
            raise
        _leave_together(joined.store, environment.world_size, outcome)
        return EXIT_STOPPED if outcome == "stopped" else 0


def _attempt_of(run: RunDirectory, environment: RankEnvironment) -> Attempt:
    """The attempt that the batch script began; alone, a rank begins one itself."""
    text = os.environ.get(ATTEMPT_VARIABLE)
    if text is not None:
        return Attempt.from_variable(text)
    if environment.world_size > 1:
        raise UserError(
            f"{ATTEMPT_VARIABLE} is not set: several ranks are started by the script of the run "
            f"({run.script.name}) or by `ptycho-launch submit`"
        )
    return begin_attempt(
        run, job_id=str(os.getpid()), cluster=environment.source, nodes=[environment.node]
    )


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
