"""What the batch script runs before and after `srun`: `python -m ptycho_dist.attempts ...`.

begin RUN_DIR                   prints the number of the new attempt and the value of
                                PTYCHO_DIST_ATTEMPT, or nothing if the run must not start
end RUN_DIR NUMBER EXIT_CODE    records the end; puts the job back into the queue if the policy
                                says so; exits with the exit code of the job
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ptycho_dist.attempts.attempt import begin_attempt, end_attempt, take_back_restart
from ptycho_dist.attempts.ending import cancel_requested
from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.attempts.slurm_job import (
    job_ends_at,
    job_is_being_cancelled,
    lost_nodes,
    own_job_id,
    requeue,
    slurm_nodes,
)
from ptycho_dist.errors import EXIT_RUN_FAILED, UserError
from ptycho_dist.rundir.layout import RunDirectory


def main(arguments: list[str]) -> int:
    """Run one of the two commands and return the exit code."""
    match arguments:
        case ["begin", directory]:
            return _begin(RunDirectory(Path(directory)))
        case ["end", directory, number, exit_code]:
            return _end(RunDirectory(Path(directory)), int(number), int(exit_code))
    print(__doc__, file=sys.stderr)
    return 2


def _begin(run: RunDirectory) -> int:
    if run.result_json.exists():
        print(f"{run.run_id} has already finished", file=sys.stderr)
        return 0
    job_id = own_job_id() or str(os.getpid())
    restarted = int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0) > 0
    if restarted:
        refused = _close_what_was_killed(run, job_id)
        if refused is not None:
            print(f"{run.run_id} does not start again: {refused}", file=sys.stderr)
            return EXIT_RUN_FAILED
    attempt = begin_attempt(
        run,
        job_id=job_id,
        cluster="slurm",
        nodes=slurm_nodes(),
        ends_at=job_ends_at(job_id),
        signal_lead_s=run.plan().signal_lead_s,
        restarted=restarted,
    )
    print(f"{attempt.number:03d} {attempt.to_variable()}")
    return 0


def _close_what_was_killed(run: RunDirectory, job_id: str) -> str | None:
    """Record the end of the attempt before, if its script was killed before it could do so.

    SLURM has started this job again: a node was lost, the job was preempted, or a person ran
    `scontrol requeue`.

    Returns:
        Why the run must not start again; None: it starts.
    """
    if cancel_requested(run, job_id):
        return "it was cancelled"
    records = [record for record in read_attempts(run) if record.job_id == job_id]
    if not records:
        return None
    last = records[-1]
    if last.end is None:
        down = lost_nodes(last.nodes)
        decision = end_attempt(run, last.number, None, lost_nodes=down).decision
        return None if decision.restart else decision.why
    # After `scontrol requeue` by a person the last end looks like a preemption.
    if last.end.restarts or last.end.ending.cause == "preempt":
        return None
    return last.end.why


def _end(run: RunDirectory, number: int, exit_code: int) -> int:
    # SLURM ends this script with SIGTERM when the job is put back into the queue.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job_id = own_job_id()
    records = read_attempts(run)
    (record,) = (known for known in records if known.number == number)
    if record.end is not None or records[-1].number != number:
        # The node was lost with this script on it, and another attempt has begun elsewhere.
        print(f"attempt {number} was ended from elsewhere; this script changes nothing")
        return EXIT_RUN_FAILED
    lost, on_request = [], False
    if job_id is not None and not run.result_json.exists():
        lost = lost_nodes(record.nodes)  # asked at each end, because srun exits with 0 then
        # SLURM also reports a job whose node is lost as COMPLETING.
        on_request = not lost and job_is_being_cancelled(job_id, record.ends_at)
    ended = end_attempt(run, number, exit_code, lost_nodes=lost, on_request=on_request)
    decision = ended.decision
    if ended.exit_code != 0:
        print(f"attempt {number}: {decision.why}", flush=True)
    if not decision.restart or job_id is None:
        return ended.exit_code
    refused = requeue(job_id, decision.delay_s, [*_excluded_by_the_config(run), *decision.exclude])
    if refused is not None:
        why = (
            f"the job cannot be put back into the queue: {refused}; continue with "
            f"`ptycho-launch resume {run.run_id}`"
        )
        take_back_restart(run, number, why)
        print(f"attempt {number}: {why}", flush=True)
    return ended.exit_code


def _excluded_by_the_config(run: RunDirectory) -> list[str]:
    """Nodes that the config excludes; SLURM keeps one list, and a new one replaces it."""
    asked = run.config().resources.sbatch_options.get("exclude")
    return [asked] if asked else []


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
