"""How the jobs of a study wait for each other: points that run beside each other would share
network and file system, and the measurement would be of that."""

from __future__ import annotations

from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.layout import RunDirectory


def lane_options(study: ArrayDirectory, lane: int) -> tuple[str, ...]:
    """What sbatch is told, so that a job begins when those before it in its lane are over.

    SLURM's `singleton` lets one job of a name and a user begin at a time, in the order of their
    ids, however those before it end. `afterany` of the job before would let a job begin beside the
    one at work as soon as that between the two is cancelled, and would need the id of a job whose
    submission was cut short.
    """
    return (f"--job-name={study.array_id}-{lane}", "--dependency=singleton")


def options_of_member(run: RunDirectory, cluster: str) -> tuple[str, ...]:
    """The same for a run that is resumed by itself; empty: it is no point of a study on SLURM."""
    member = ArrayDirectory.of_member(run)
    if cluster != "slurm" or member is None or not member[0].study_json.is_file():
        return ()
    return lane_options(member[0], 0)
