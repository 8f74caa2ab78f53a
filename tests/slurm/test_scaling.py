"""A scaling study on a real SLURM: a chain of jobs of several sizes, and what it has measured."""

import json

import pytest
from attempt_files import attempt_files

from launcher.scaling.collect import collect
from ptycho_dist.rundir.array import ArrayDirectory

pytestmark = pytest.mark.slurm

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 1, batch_size: 16}
resources: {nodes: 1, tasks_per_node: 1}
requeue: {signal_lead_s: 60}
"""


def test_a_study_from_its_submission_to_its_measurements(
    cluster, make_config, forked_ranks, launch, tmp_path, monkeypatch
):
    """SC-010, SC-011, SC-014, SC-016, SC-017: three sizes, one after another, also when the one
    between is cancelled; that one alone is submitted again."""
    root = tmp_path / "runs"

    def command(*arguments):
        done = launch(*arguments, "--runs-dir", root, env=cluster.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command(
        "scale", make_config(TEXT + forked_ranks), "--nodes", "1,2", "--mode", "strong,weak",
        "--repeats", "1", "--steps", "2", "--warm-up", "1", "--cluster", "slurm", "--yes",
    )  # fmt: skip
    (path,) = root.iterdir()
    array = ArrayDirectory(path)
    runs = [member.run for member in array.read()[1]]
    jobs = [json.loads(run.submission_json.read_text())["jobs"][0]["job_id"] for run in runs]
    assert jobs == sorted(jobs, key=int)
    cluster.run(["scancel", jobs[1]])  # the one at work goes on, and is not joined by the third
    told = cluster.run(["squeue", "-h", "-j", ",".join(jobs), "-o", "%i|%T|%r|%E"]).stdout
    assert f"{jobs[2]}|PENDING|Dependency|singleton(unfulfilled)" in told.split()
    shown = json.loads(command("status", "tiny", "--watch", "--json"))
    assert shown["counts"] == {"finished": 2, "cancelled": 1}
    assert [member["state"] for member in shown["members"]] == [
        "finished", "cancelled", "finished"
    ]  # fmt: skip
    (first,), none, (third,) = map(attempt_files, runs)
    assert not none
    assert third["started_at"] >= first["ended_at"]
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    found = collect(array)
    assert [each.run_id[-3:] for each in found.measured] == ["000", "002"]
    assert [(each.run_id[-3:], each.state) for each in found.missing] == [("001", "cancelled")]
    for each in found.measured:
        assert each.attribution.ranks == each.point.ranks == each.point.nodes == len(each.nodes)
        assert each.attribution.steps == 2
        assert 16 < each.attribution.samples <= 37
        assert (each.machines, each.attempts) == (1, 1)
        assert 0 < each.goodput < 1
    waited = third["started_at"] - first["ended_at"]
    assert found.measured[1].start_up_s["queue"] == pytest.approx(waited)
    again = json.loads(command("resume", "tiny", "--json"))
    (job,) = again["job_ids"]
    told = cluster.run(["squeue", "-h", "--states=all", "-j", job, "-o", "%k|%j"]).stdout
    assert told.strip() == f"ptycho-dist:{runs[1].run_id}|{array.array_id}-0"
    cluster.run(["scancel", job])
