"""The execution-config contract on 2 nodes × 2 ranks: srun, ranks that differ, legacy globals."""

import csv
import json
import shutil
import sys
import time

import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from ptycho_dist.config.plain_data import config_digest, decode_run_config
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

pytestmark = pytest.mark.slurm

FOUR_RANKS = ("--set", "resources.nodes=2", "--set", "resources.tasks_per_node=2")
TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 2, batch_size: 4}
execution: {join_timeout_s: 300}
"""


def losses(run):
    with (run.metrics / "metrics.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


def test_ptycho_train_under_srun_gives_the_losses_of_a_submitted_run(
    cluster, make_config, scan_file, launch, tmp_path
):
    """EC-038, RD-024: rank 0 begins the attempt, and the others find it by the job step."""
    run = RunDirectory(tmp_path / "out")
    cluster.run(
        [
            "srun", "-N2", "--ntasks-per-node=2", sys.executable, "-m", "ptycho_dist.train",
            "--train_data_file", str(scan_file), "--output_dir", str(run.path), "--quiet",
            "--gridsize", "1", "--n_filters_scale", "0.125", "--max_epochs", "2",
            "--batch_size", "4", "--set", "reconstruct=false",
        ],
        timeout=HANG_S,
    )  # fmt: skip
    done = launch(
        "submit", make_config(TEXT), *FOUR_RANKS, "--cluster", "slurm", "--wait",
        "--runs-dir", tmp_path / "runs", env=cluster.env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "runs").iterdir()
    assert losses(run) == losses(RunDirectory(path))
    joined = {e["rank"]: e for e in read_ledger(run) if e["event"] == "joined"}
    assert sorted(joined) == [0, 1, 2, 3]
    assert {event["source"] for event in joined.values()} == {"slurm"}
    assert joined[0]["node"] != joined[3]["node"]
    (attempt,) = attempt_files(run)
    assert (attempt["outcome"], attempt["cluster"]) == ("finished", "slurm")


def fails(cluster, run, script):
    """Submit by hand; seconds from the first rank until the job has failed."""
    job_id = cluster.run(["sbatch", "--parsable", str(script)]).stdout.strip()
    wait_for(lambda: read_heartbeats(run), "rank")
    began = time.monotonic()
    while time.monotonic() < began + HANG_S:
        shown = cluster.run(["scontrol", "--oneliner", "show", "job", job_id]).stdout
        words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
        if words["JobState"] not in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}:
            assert words["JobState"] == "FAILED"
            assert words["ExitCode"] != "0:0"
            return time.monotonic() - began
        time.sleep(0.1)
    return pytest.fail("the job hangs")


def prepared(launch, config, root, *more):
    done = launch("script", config, *FOUR_RANKS, *more, "--runs-dir", root)
    assert done.returncode == 0, done.stderr
    (path,) = root.iterdir()
    return RunDirectory(path)


def test_a_rank_with_another_config_file_and_package_ends_the_job_and_is_named(
    cluster, make_config, forked_ranks, forking_python, simulate, launch, changed_script, tmp_path
):
    """RD-034, RD-038: within 60 s, with the fields and the rank, in status and in each log."""
    run = prepared(launch, make_config(TEXT + forked_ranks), tmp_path / "r")
    plan = json.loads(run.plan_json.read_text())
    del plan["data"]  # else the other file is found at once, by the rank itself (RD-036)
    run.plan_json.write_text(json.dumps(plan))
    other = RunDirectory(tmp_path / "other" / run.path.name)
    shutil.copytree(run.path, other.path)
    record = json.loads(other.run_json.read_text())
    record["config"]["execution"]["learning_rate"] = 0.5
    file = simulate(tmp_path / "other.npz", n_patterns=37, seed=1)
    record["config"]["data"]["train_data_file"] = str(file)
    record["config_sha256"] = config_digest(decode_run_config(record["config"], "test"))
    other.run_json.write_text(json.dumps(record))
    info = tmp_path / "site" / "h5py-0.1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: h5py\nVersion: 0.1.2\n")
    instead = f"export PYTHONPATH={info.parent}; exec {forking_python} -u -m ptycho_dist.rank "
    script = changed_script(run, rank=3, instead=instead + str(other.path))
    assert fails(cluster, run, script) < 75  # 60 s from the first registration, and the end
    status = json.loads(launch("status", run.path, "--json", env=cluster.env).stdout)
    assert status["state"] == "failed"
    for words in (
        "execution.learning_rate: rank 3 on node2 has 0.5, ranks 0, 1, 2 have 0.001",
        "data.train_data_file: rank 3 on node2 has",
        "data.train_data_file (contents): rank 3 on node2 has",
        "h5py: rank 3 on node2 has 0.1.2, ranks 0, 1, 2 have",
    ):
        assert words in status["cause"]
    for rank in range(4):
        log = run.rank_log(1, rank).read_text()
        assert "error: the ranks differ: " in log
        assert "Traceback" not in log


def test_a_rank_with_another_legacy_value_ends_the_job_and_is_named(
    cluster, make_config, forking_python, launch, changed_script, tmp_path
):
    """LI-053, LI-070"""
    for folder, label in (("site", "as installed"), ("odd", "another")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "foreign_params.py").write_text(f"cfg = {{'label': {label!r}}}\n")
    config = make_config(
        TEXT + f"legacy: {{module: foreign_params}}\n"
        f"environment: {{venv: {forking_python.parents[1]}, "
        f"env: {{PYTHONPATH: {tmp_path / 'site'}}}}}\n"
    )
    run = prepared(launch, config, tmp_path / "r")
    instead = f"export PYTHONPATH={tmp_path / 'odd'}"
    script = changed_script(run, rank=3, instead=instead)
    assert fails(cluster, run, script) < 75
    status = json.loads(launch("status", run.path, "--json", env=cluster.env).stdout)
    words = 'label: rank 3 has "another", ranks 0, 1, 2 have "as installed"'
    assert words in status["cause"]
    for rank in range(4):
        assert words in run.rank_log(1, rank).read_text()
