"""How a rank learns which attempt it belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from ptycho_dist.errors import JoinError, UserError
from ptycho_dist.rundir import Attempt, RunDirectory, begin_attempt
from ptycho_dist.rundir.attempt import ATTEMPT_VARIABLE
from ptycho_dist.rundir.processes import LocalProcess
from ptycho_dist.runtime.environment import RankEnvironment

TORCHRUN_TIMEOUT_S = 60


@dataclass(frozen=True)
class OwnAttempt:
    """The attempt of this rank."""

    attempt: Attempt
    begun_here: bool
    """This rank began it, so this rank records its end: there is no batch script to do so."""


def attempt_of(run: RunDirectory, environment: RankEnvironment) -> OwnAttempt:
    """The attempt that the batch script or the local cluster began; else one of our own.

    Alone, a rank begins it by itself. Under torchrun rank 0 does, and hands it to the others
    through torchrun's store.

    Raises:
        UserError: several ranks, and nobody has begun an attempt for them.
        JoinError: torchrun's rank 0 does not hand it over in time.
    """
    text = os.environ.get(ATTEMPT_VARIABLE)
    if text is not None:
        return OwnAttempt(Attempt.from_variable(text), begun_here=False)
    if environment.source == "torchrun":
        return _through_torchrun(run, environment)
    if environment.world_size > 1:
        raise UserError(
            f"{ATTEMPT_VARIABLE} is not set: several ranks are started by the script of the run "
            f"({run.script.name}), by `ptycho-launch submit`, or by torchrun"
        )
    return OwnAttempt(_begin(run, environment), begun_here=True)


def _through_torchrun(run: RunDirectory, environment: RankEnvironment) -> OwnAttempt:
    from torch.distributed import PrefixStore, TCPStore

    if environment.host is None or environment.port is None:
        raise UserError("torchrun has set no MASTER_ADDR and MASTER_PORT")
    agent_has_it = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    key = f"attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    first = environment.rank == 0
    try:
        store = PrefixStore(
            "ptycho_dist",
            TCPStore(
                environment.host,
                environment.port,
                is_master=first and not agent_has_it,
                wait_for_workers=False,
                timeout=timedelta(seconds=TORCHRUN_TIMEOUT_S),
            ),
        )
        if first:
            attempt = _begin(run, environment)
            store.set(key, attempt.to_variable())
            return OwnAttempt(attempt, begun_here=True)
        return OwnAttempt(Attempt.from_variable(store.get(key).decode()), begun_here=False)
    except RuntimeError as error:
        raise JoinError(
            f"rank {environment.rank} learns no attempt from torchrun's store at "
            f"{environment.host}:{environment.port}: {str(error).splitlines()[0]}"
        ) from None


def _begin(run: RunDirectory, environment: RankEnvironment) -> Attempt:
    return begin_attempt(
        run,
        job_id=str(LocalProcess.of(os.getpid())),
        cluster="local",
        nodes=[environment.node],
        host=environment.host,
    )
