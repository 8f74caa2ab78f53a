"""What the batch script runs before and after `srun`: `python -m ptycho_dist.rundir ...`.

begin RUN_DIR                   prints the attempt's number and the value of PTYCHO_DIST_ATTEMPT,
                                or nothing where the run has already finished
end RUN_DIR NUMBER EXIT_CODE    records the end; exits with the code of the job
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.attempt import begin_attempt, end_attempt, slurm_nodes
from ptycho_dist.rundir.layout import RunDirectory


def main(arguments: list[str]) -> int:
    """Run one of the two commands; returns the exit code."""
    match arguments:
        case ["begin", directory]:
            run = RunDirectory(Path(directory))
            if run.result_json.exists():
                print(f"{run.run_id} has already finished", file=sys.stderr)
                return 0
            job_id = os.environ.get("SLURM_JOB_ID", str(os.getpid()))
            attempt = begin_attempt(run, job_id=job_id, cluster="slurm", nodes=slurm_nodes())
            print(f"{attempt.number:03d} {attempt.to_variable()}")
            return 0
        case ["end", directory, number, exit_code]:
            return end_attempt(RunDirectory(Path(directory)), int(number), int(exit_code))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
