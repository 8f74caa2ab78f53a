"""`ptycho-launch drill` on a real SLURM: 2 nodes × 2 ranks, loaders with two workers."""

import re

import pytest
from waiting import HANG_S

pytestmark = pytest.mark.slurm

TEXT = """
model: {n_filters_scale: 0.125}
training: {batch_size: 2}
execution: {accum_steps: 2, num_workers: 2}
resources: {nodes: 2, tasks_per_node: 2}
"""

POINTS = ("window", "epoch-end", "validation")


def test_four_ranks_on_two_nodes_lose_nothing(
    cluster, make_config, forked_ranks, simulate, launch, tmp_path, capsys
):
    """RS-001, RS-008, RS-050, guarantees G2, G4 and G6."""
    test = simulate(tmp_path / "test.npz", n_patterns=10, seed=1)
    config = make_config(TEXT + forked_ranks)
    config.write_text(config.read_text().replace("npz}", f"npz, test_data_file: {test}}}"))
    done = launch(
        "drill", config, "--cluster", "slurm", "--ranks", "4", "--points", ",".join(POINTS),
        "--runs-dir", tmp_path / "runs",
        env=cluster.env, timeout=HANG_S * 2,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "PASS"), done.stdout + done.stderr
    told = "\n".join(lines)
    for point in POINTS:
        assert re.search(rf"^{point} \(.*\): all ranks stopped at step \d+; [\d.]+ s", told, re.M)
    with capsys.disabled():
        print(f"\n{lines[-2]}", end="")
