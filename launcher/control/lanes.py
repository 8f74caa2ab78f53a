"""Makes the jobs of a study wait for each other.

Points that run at the same time would share network and file system, which would disturb what they
measure.
"""

from __future__ import annotations

from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.layout import RunDirectory


def lane_options(study: ArrayDirectory, lane: int) -> tuple[str, ...]:
    """The options of sbatch that make a job begin after those before it in its lane.

    SLURM's `singleton` starts the jobs of one name and user one at a time, in the order of their
    ids, however the jobs before them end. `afterany` of the previous job would not do: if a job in
    the middle is cancelled, the next one would begin beside the one at work; and the id of a job
    whose submission was cut short is unknown.

    Args:
        study: the directory of the study.
        lane: number of the lane, counted from 0.
    """
    return (f"--job-name={study.array_id}-{lane}", "--dependency=singleton")


def options_of_member(run: RunDirectory, cluster: str) -> tuple[str, ...]:
    """`lane_options` for a run that is resumed alone; empty if it is no point of a SLURM study."""
    member = ArrayDirectory.of_member(run)
    if cluster != "slurm" or member is None or not member[0].study_json.is_file():
        return ()
    return lane_options(member[0], 0)
