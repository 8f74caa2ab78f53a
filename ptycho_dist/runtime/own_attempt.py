"""How a rank learns which attempt it belongs to."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta

from ptycho_dist.attempts.attempt import Attempt, begin_attempt
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.attempts.slurm_job import own_job_id, slurm_nodes
from ptycho_dist.errors import JoinError, UserError, first_line
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.environment import RankEnvironment

HAND_OVER_TIMEOUT_S = 60
"""Seconds to wait for rank 0: a file system may show a new file to other nodes late."""
POLL_S = 0.2


@dataclass(frozen=True)
class OwnAttempt:
    """The attempt of this rank."""

    attempt: Attempt
    begun_here: bool
    """Whether this rank began it and must record its end, as no batch script does so."""


def attempt_of(run: RunDirectory, environment: RankEnvironment) -> OwnAttempt:
    """Return the attempt that the batch script or the local cluster began, or begin one.

    A single rank begins it by itself. Otherwise rank 0 does so, and hands it to the others through
    torchrun's store or, in a job step of SLURM, through the run directory.

    Raises:
        UserError: several ranks were started in a way in which they cannot find each other.
        JoinError: rank 0 has not handed the attempt over in time.
    """
    text = os.environ.get(ATTEMPT_VARIABLE)
    if text is not None:
        return OwnAttempt(Attempt.from_variable(text), begun_here=False)
    if environment.source == "torchrun":
        return _through_torchrun(run, environment)
    if environment.source == "slurm" and environment.world_size > 1:
        return _through_run_directory(run, environment)
    if environment.world_size > 1:
        raise UserError(
            f"{ATTEMPT_VARIABLE} is not set, so that the ranks cannot find each other; start them "
            f"by `ptycho-launch submit`, {run.script.name} of the run, srun or torchrun"
        )
    return OwnAttempt(_begin(run, environment), begun_here=True)


def _through_torchrun(run: RunDirectory, environment: RankEnvironment) -> OwnAttempt:
    from torch.distributed import PrefixStore, TCPStore

    if environment.host is None or environment.port is None:
        raise UserError(
            "torchrun has not set MASTER_ADDR or MASTER_PORT; start all ranks by torchrun"
        )
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
                timeout=timedelta(seconds=HAND_OVER_TIMEOUT_S),
            ),
        )
        if first:
            attempt = _begin(run, environment)
            store.set(key, attempt.to_variable())
            return OwnAttempt(attempt, begun_here=True)
        return OwnAttempt(Attempt.from_variable(store.get(key).decode()), begun_here=False)
    except RuntimeError as error:
        raise JoinError(
            f"rank {environment.rank} cannot get the attempt from torchrun's store at "
            f"{environment.host}:{environment.port}: {first_line(error)}"
        ) from None


def _through_run_directory(run: RunDirectory, environment: RankEnvironment) -> OwnAttempt:
    """Begin the attempt of this job step on rank 0; find it by the step's number on the others."""
    if environment.rank == 0:
        return OwnAttempt(_begin(run, environment), begun_here=True)
    job_id = own_job_id()
    deadline = time.monotonic() + HAND_OVER_TIMEOUT_S
    while time.monotonic() < deadline:
        for record in reversed(read_attempts(run)):
            if (record.job_id, record.step) == (job_id, environment.step):
                return OwnAttempt(Attempt.of_record(record), begun_here=False)
        time.sleep(POLL_S)
    raise JoinError(
        f"rank {environment.rank} on {environment.node} sees no attempt of job step "
        f"{job_id}.{environment.step} in {run.attempts} after {HAND_OVER_TIMEOUT_S} s: rank 0 has "
        "not begun one, or this node does not see the directory"
    )


def _begin(run: RunDirectory, environment: RankEnvironment) -> Attempt:
    if environment.step is not None:
        return begin_attempt(
            run,
            job_id=str(own_job_id()),
            cluster="slurm",
            nodes=slurm_nodes(),
            step=environment.step,
        )
    return begin_attempt(
        run,
        job_id=str(LocalProcess.of(os.getpid())),
        cluster="local",
        nodes=[environment.node],
        host=environment.host,
    )
