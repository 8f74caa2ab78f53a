"""A scaling study on this machine, with real ranks."""

import pytest

from launcher.scaling.collect import collect
from ptycho_dist.rundir.listing import list_arrays

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 1, batch_size: 16}
resources: {nodes: 1, tasks_per_node: 1}
"""


def test_a_study_without_slurm(make_config, launch, tmp_path):
    """SC-013, SC-016: `--wait` ends with 0 where all points have finished."""
    done = launch(
        "scale", make_config(TEXT), "--nodes", "1", "--repeats", "1", "--steps", "2",
        "--warm-up", "0", "--cluster", "local", "--yes", "--wait", "--runs-dir", tmp_path / "runs",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (array,) = list_arrays(tmp_path / "runs")
    found = collect(array)
    assert not found.missing
    (measured,) = found.measured
    attribution = measured.attribution
    assert (attribution.steps, attribution.samples) == (2, 32)
    assert sum(attribution.parts_s.values()) == pytest.approx(attribution.wall_s, rel=0.05)
    assert measured.start_up_s["queue"] >= 0
