"""Runs on a real SLURM: 2 nodes × 2 ranks, the printed script, refusals, missing ranks, cancel."""

import csv
import getpass
import json
import os
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from ptycho_dist.attempts.processes import start_time
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

pytestmark = pytest.mark.slurm

STATUS_SCHEMA = json.loads((Path(__file__).parents[2] / "specs" / "status.schema.json").read_text())
FOUR_RANKS = ("--set", "resources.nodes=2", "--set", "resources.tasks_per_node=2")
TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 3, batch_size: 4}
execution: {join_timeout_s: 300}
requeue: {signal_lead_s: 60}
"""
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
    "HF_TOKEN": "planted-hf",
    "DATABASE_URL": "postgresql://user:planted@host/base",
}


@pytest.fixture
def config(make_config):
    return make_config(TEXT)


@pytest.fixture
def forking_config(make_config, forked_ranks):
    return make_config(TEXT + forked_ranks)


def losses(run):
    with (run.metrics / "metrics.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


def only_run(root: Path) -> RunDirectory:
    (path,) = root.iterdir()
    return RunDirectory(path)


def joined(run):
    return [event for event in read_ledger(run) if event["event"] == "joined"]


def job_ids(cluster):
    return cluster.run(["squeue", "--noheader", "--states=all", "--format=%i"]).stdout.split()


def sbatch_by_hand(cluster, script):
    """Submit a script; returns the number of the job."""
    return cluster.run(["sbatch", "--parsable", str(script)]).stdout.strip()


def end_of(cluster, job_id):
    """Wait for the end of a job: SLURM's state and its exit code."""

    def ended():
        shown = cluster.run(["scontrol", "--oneliner", "show", "job", job_id]).stdout
        words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
        over = words["JobState"] not in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}
        return (words["JobState"], words["ExitCode"]) if over else None

    return wait_for(ended, "end of the job")


def files_with_a_secret(root):
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    return [path for path in files if b"planted" in path.read_bytes()]


def test_two_nodes_train_as_four_local_ranks_do(cluster, config, launch, tmp_path):
    """RD-257, RD-265: of a frozen copy of the code, and of one copy of the data on each node.

    RC-121: and what stands in the environment stays there.
    """
    arguments = ("submit", config, "--wait", "--runs-dir")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = launch(
        *arguments, tmp_path / "slurm", "--cluster", "slurm", *FOUR_RANKS,
        "--set", "environment.snapshot=true", "--set", f"data.stage_to={disk}",
        env={**cluster.env, **SECRETS},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    local = launch(
        *arguments, tmp_path / "local", "--cluster", "local", "--set", "resources.tasks_per_node=4",
        env=SECRETS,
    )  # fmt: skip
    assert local.returncode == 0, local.stdout + local.stderr
    assert files_with_a_secret(tmp_path) == []
    run, reference = only_run(tmp_path / "slurm"), only_run(tmp_path / "local")
    nodes = {event["rank"]: event["node"] for event in joined(run)}
    assert sorted(nodes) == [0, 1, 2, 3]
    assert nodes[0] == nodes[1] != nodes[2] == nodes[3]
    assert {event["source"] for event in joined(run)} == {"slurm"}
    staged = [event for event in read_ledger(run) if event["event"] == "data_staged"]
    assert {event["node"] for event in staged} == set(nodes.values())
    assert len(staged) == 2
    assert list(disk.iterdir()) == []
    assert '"$python" -u "$run_dir/code" ptycho_dist.rank' in run.script.read_text()
    np.testing.assert_allclose(losses(run), losses(reference), rtol=1e-5)
    assert len(losses(run)) == 3
    for heartbeat in read_heartbeats(run).values():
        assert start_time(heartbeat.pid) is None  # no zombie
    (job,) = json.loads(run.submission_json.read_text())["jobs"]
    state = cluster.run(["sacct", "-nXP", "-o", "State,ExitCode", "-j", job["job_id"]]).stdout
    assert state.strip() == "COMPLETED|0:0"


def test_the_printed_script_given_to_sbatch_by_hand_runs_the_same_job(
    cluster, config, launch, tmp_path
):
    """LP-040, LP-042: plan, script and what was submitted are one text."""
    by_hand, submitted = tmp_path / "hand", tmp_path / "submitted"
    printed = launch("script", config, *FOUR_RANKS, "--runs-dir", by_hand)
    assert printed.returncode == 0, printed.stderr
    run = only_run(by_hand)
    status = json.loads(launch("status", run.path, "--json").stdout)
    assert status["state"] == "prepared"
    script = tmp_path / "job.sbatch"
    script.write_text(printed.stdout)
    assert end_of(cluster, sbatch_by_hand(cluster, script)) == ("COMPLETED", "0:0")
    assert run.result_json.exists()
    assert len(joined(run)) == 4
    done = launch(
        "submit", config, *FOUR_RANKS, "--cluster", "slurm", "--wait", "--runs-dir", submitted,
        env=cluster.env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    other = only_run(submitted)
    assert losses(run) == losses(other)
    (sent,) = (other.path / "submitit").glob("*_submission.sh")
    assert sent.read_text() == other.script.read_text()
    plan = json.loads(launch("plan", config, *FOUR_RANKS, "--json", "--runs-dir", submitted).stdout)
    assert plan["script"].replace("tiny-RUN-ID", other.run_id) == other.script.read_text()
    # RD-023: a finished run does not start again
    assert end_of(cluster, sbatch_by_hand(cluster, script)) == ("COMPLETED", "0:0")
    assert len(attempt_files(run)) == 1


def test_without_accounting_the_end_is_noticed_within_10_s(
    cluster_without_accounting, forking_config, launch, tmp_path
):
    cluster = cluster_without_accounting
    assert cluster.run(["sacct"], check=False).returncode != 0
    done = launch(
        "submit", forking_config, *FOUR_RANKS, "--cluster", "slurm", "--wait",
        "--runs-dir", tmp_path / "r", env=cluster.env,
    )  # fmt: skip
    returned = time.time()
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(tmp_path / "r")
    assert len(joined(run)) == 4
    assert returned - attempt_files(run)[0]["ended_at"] < 10  # the bound itself


def test_two_jobs_on_one_node_at_once_both_train(cluster, forking_config, launch, tmp_path):
    """RD-031"""
    root = tmp_path / "runs"
    two = ("--set", "resources.tasks_per_node=2", "--cluster", "slurm", "--runs-dir", root)
    for _ in range(2):
        assert launch("submit", forking_config, *two, env=cluster.env).returncode == 0
    runs = [RunDirectory(path) for path in root.iterdir()]
    wait_for(lambda: all(run.result_json.exists() for run in runs))
    wait_for(lambda: all(attempt_files(run)[0]["ended_at"] for run in runs))
    first, second = (attempt_files(run)[0] for run in runs)
    assert first["nodes"] == second["nodes"]  # the scheduler fills a node before the next
    assert max(first["started_at"], second["started_at"]) < min(
        first["ended_at"], second["ended_at"]
    )
    assert first["port"] != second["port"]


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        ("exec sleep 600", "rank 3 on node2 did not join within 15 s: it never started"),
        (
            'export PTYCHO_DIST_ATTEMPT=$(echo "$PTYCHO_DIST_ATTEMPT" | '
            "sed s/127[0-9.]*/no-such-node/)",
            "cannot resolve",
        ),
    ],
)
def test_a_rank_that_cannot_come_is_named_and_the_job_ends(
    cluster, forking_config, launch, tmp_path, changed_script, instead, words
):
    """RD-032, RD-033, guarantee G7."""
    little_patience = ("--set", "execution.join_timeout_s=15")
    launch("script", forking_config, *FOUR_RANKS, *little_patience, "--runs-dir", tmp_path / "r")
    run = only_run(tmp_path / "r")
    script = changed_script(run, rank=3, instead=instead)
    job_id = sbatch_by_hand(cluster, script)
    wait_for(lambda: read_heartbeats(run), "rank")
    began = time.monotonic()
    state, exit_code = end_of(cluster, job_id)
    assert state == "FAILED"
    assert exit_code != "0:0"
    assert time.monotonic() - began < 75  # 60 s from the first registration, and the end of the job
    status = json.loads(launch("status", run.path, "--json", env=cluster.env).stdout)
    assert status["state"] == "failed"
    assert words in status["cause"]
    assert "rank 3" in status["cause"]
    why = json.loads(launch("explain", run.path, "--json", env=cluster.env).stdout)
    causes = {"did not join": "rank_did_not_join", "cannot resolve": "unresolvable_host"}
    assert why["cause"] == next(name for said, name in causes.items() if said in words)
    assert (why["first_rank"], why["node"]) == (3, "node2")
    assert 0 in why["followers"]
    log = launch("logs", run.path, "--rank", "0").stdout
    assert words in log
    assert "Traceback" not in log


def test_cancel_ends_every_rank_within_30_s_and_the_ledger_says_so(
    cluster, forking_config, launch, tmp_path
):
    """RD-071: also where a step takes seconds, in which srun would kill the ranks.

    LP-052: a run that was to start after it never does, and SLURM removes its job.
    """
    root = tmp_path / "runs"
    long = ("--set", "training.nepochs=5000", "--set", "model.n_filters_scale=2.0")
    launch(
        "submit", forking_config, *FOUR_RANKS, *long, "--cluster", "slurm", "--runs-dir", root,
        env=cluster.env,
    )  # fmt: skip
    run = only_run(root)
    wait_for(lambda: any(h.progress.get("step", 0) >= 1 for h in read_heartbeats(run).values()))
    pids = [heartbeat.pid for heartbeat in read_heartbeats(run).values()]
    assert len(pids) == 4
    later = launch(
        "submit", forking_config, "--cluster", "slurm", "--runs-dir", tmp_path / "later", "--json",
        "--after", run.path, env=cluster.env,
    )  # fmt: skip
    assert later.returncode == 0, later.stderr
    waiting = json.loads(later.stdout)["job_id"]
    (job,) = json.loads(run.submission_json.read_text())["jobs"]
    shown = cluster.run(["scontrol", "--oneliner", "show", "job", waiting]).stdout
    assert f"Dependency=afterok:{job['job_id']}(unfulfilled)" in shown
    # RD-200, RD-208: first asked of SLURM, then with none of its commands on the PATH
    said = {}
    for said_by, path in (("squeue", os.environ["PATH"]), ("run directory", str(tmp_path))):
        shown = launch("status", "--runs-dir", root, "--json", env={**cluster.env, "PATH": path})
        said = json.loads(shown.stdout)
        jsonschema.Draft202012Validator(STATUS_SCHEMA).validate(said)
        assert (said["state"], said["said_by"]) == ("running", said_by)
        assert len(said["ranks"]) == said["ranks_planned"] == 4
    assert said["walltime_ends_at"] > time.time()
    began = time.monotonic()
    done = launch("cancel", run.run_id, "--runs-dir", root, env=cluster.env)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 30  # the bound that cancel promises
    assert [start_time(pid) for pid in pids] == [None] * 4
    events = [event["event"] for event in read_ledger(run)]
    assert events.count("stopped") == 4
    assert {"cancel_requested", "cancelled"} <= set(events)
    assert json.loads(launch("status", run.path, "--json", env=cluster.env).stdout)["state"] == (
        "cancelled"
    )
    why = launch("explain", run.path, env=cluster.env).stdout
    assert f"cancelled: the run was ended on request by {getpass.getuser()} (recorded)" in why
    waited = ("status", only_run(tmp_path / "later").path, "--json")

    def state():
        return json.loads(launch(*waited, env=cluster.env).stdout)["state"]

    wait_for(lambda: state() not in {"pending", "running"})
    assert state() == "cancelled"


def test_a_refusal_of_slurm_is_one_line_and_leaves_nothing(cluster, config, launch, tmp_path):
    """LP-049"""
    before = job_ids(cluster)
    root = tmp_path / "runs"
    for override, words in (
        ("resources.partition=nope", "invalid partition"),
        ("resources.nodes=30", "sbatch refuses the job"),
    ):
        done = launch(
            "submit", config, "--set", override, "--cluster", "slurm", "--runs-dir", root,
            env=cluster.env,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not root.exists() or not any(root.iterdir())
    assert job_ids(cluster) == before


def test_a_slurm_that_is_not_there(cluster, config, launch, tmp_path):
    root = tmp_path / "runs"
    conf = tmp_path / "slurm.conf"
    text = Path(cluster.env["SLURM_CONF"]).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("SlurmctldPort=")]
    conf.write_text("\n".join([*lines, "SlurmctldPort=1"]))
    unreachable = {**cluster.env, "SLURM_CONF": str(conf)}
    only_python = {"PATH": "/nowhere"}
    for env, words in ((unreachable, "does not answer"), (only_python, "not on PATH")):
        done = launch(
            "submit", config, "--cluster", "slurm", "--runs-dir", root, env=env, timeout=HANG_S
        )
        assert (done.returncode, done.stdout) == (3, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not root.exists()


def test_a_job_submitted_from_inside_another_one_is_not_led_astray(
    cluster, forking_config, launch, tmp_path
):
    """LP-046, LP-048: variables of an allocation and stale exports of a login shell."""
    stale = {
        "SLURM_JOB_ID": "999999",
        "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
        "SLURM_NTASKS": "1",
        "SBATCH_PARTITION": "nope",
        "MASTER_ADDR": "no-such-node",
        "MASTER_PORT": "1",
        "RANK": "7",
        "WORLD_SIZE": "99",
    }
    done = launch(
        "submit", forking_config, *FOUR_RANKS, "--cluster", "slurm", "--wait",
        "--runs-dir", tmp_path / "r", env={**cluster.env, **stale},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_srun_by_hand_with_another_number_of_tasks_is_refused(cluster, config, launch, tmp_path):
    launch("script", config, *FOUR_RANKS, "--runs-dir", tmp_path / "r")
    run = only_run(tmp_path / "r")
    attempt = '{"number":1,"token":"x","host":"127.0.0.1","port":15000}'
    done = cluster.run(
        [
            "env", f"PTYCHO_DIST_ATTEMPT={attempt}", "srun", "-n1", sys.executable, "-m",
            "ptycho_dist.rank", str(run.path),
        ],
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "slurm started 1 ranks, the plan has 4 (2 nodes × 2)" in done.stderr
