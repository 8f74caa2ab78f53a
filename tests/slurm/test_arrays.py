"""Job arrays on a real SLURM, and submissions that are killed around a real sbatch."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from attempt_files import attempt_files
from waiting import HANG_S, wait_for

from launcher.control import submit
from launcher.planning.data_facts import read_data_facts
from launcher.planning.plan import make_plan
from launcher.slurm.jobs import Scheduler
from launcher.status.run_status import status_of
from ptycho_dist.config.load import read_run_config
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.listing import list_runs

pytestmark = pytest.mark.slurm

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 1, batch_size: 16}
requeue: {signal_lead_s: 60}
"""


def test_an_array_from_submission_to_resume(cluster, make_config, forked_ranks, launch, tmp_path):
    """LP-233, LP-235, LP-236, LP-238, LP-239, LP-242: four members, at most three at once. One is
    cancelled while it waits, one fails and is resumed alone."""
    root = tmp_path / "runs"

    def command(*arguments, code=0):
        done = launch(*arguments, "--runs-dir", root, env=cluster.env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    command(
        "submit", make_config(TEXT + forked_ranks), "--cluster", "slurm", "--throttle", "3",
        "--array", "training.seed=1,2", "--array", "execution.learning_rate=1e-3,1e30",
    )  # fmt: skip
    (path,) = root.iterdir()
    array = ArrayDirectory(path)
    runs = [member.run for member in array.read()[1]]
    (job,) = json.loads(array.submission_json.read_text())["jobs"]
    waiting = cluster.run(["squeue", "-rh", "-o", "%i|%T", "-j", job["job_id"]]).stdout
    assert f"{job['job_id']}_3|PENDING" in waiting.split()
    command("submit", make_config(TEXT), "--set", "name=next", "--after", "tiny")
    told = cluster.run(["squeue", "-h", "-o", "%E", "-n", "next"]).stdout
    assert f"afterok:{job['job_id']}_*" in told
    cluster.run(["scancel", "-n", "next"])
    assert "cancelled" in command("cancel", "tiny.3")
    shown = json.loads(command("status", "tiny", "--watch", "--json"))
    assert [member["state"] for member in shown["members"]] == [
        "finished", "failed", "finished", "cancelled"
    ]  # fmt: skip
    assert shown["counts"] == {"finished": 2, "failed": 1, "cancelled": 1}
    assert [member["job_id"] for member in shown["members"]] == [
        f"{job['job_id']}_{task}" for task in range(4)
    ]
    for task, run in enumerate(runs[:3]):
        (attempt,) = attempt_files(run)
        assert attempt["job_id"] == f"{job['job_id']}_{task}"
        assert (run.logs / f"batch-{job['job_id']}_{task}.log").exists()
    assert not attempt_files(runs[3])
    command("resume", "tiny")
    second = json.loads(array.submission_json.read_text())["jobs"][1]
    assert second["indices"] == "1"
    wait_for(lambda: len(attempt_files(runs[1])) == 2)
    command("cancel", "tiny")
    assert attempt_files(runs[1])[1]["job_id"] == f"{second['job_id']}_1"
    assert [len(attempt_files(run)) for run in runs] == [1, 2, 1, 0]


@pytest.fixture
def held_sbatch(cluster, tmp_path, monkeypatch):
    """`sbatch` holds what it queues, and kills the process of pid_file before or after it."""
    folder, pid_file = tmp_path / "bin", tmp_path / "pid"
    folder.mkdir()
    kill = f"kill -KILL $(cat {pid_file})"
    (folder / "sbatch").write_text(
        f'#!/bin/bash\n[ "$MOMENT" = before ] && {kill}\n'
        f'{shutil.which("sbatch")} --hold "$@"\ncode=$?\n'
        f'[ "$MOMENT" = after ] && {kill}\nexit $code\n'
    )
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    return pid_file


def test_a_submission_killed_around_sbatch_is_found_again(
    cluster, held_sbatch, make_config, tmp_path, monkeypatch
):
    """LP-220 to LP-222, with the queue of a real SLURM; two submissions at once are two runs."""
    root = tmp_path / "runs"
    config = make_config(TEXT)
    loaded = read_run_config(config).sound()
    plan = make_plan(loaded, read_data_facts(loaded.config.data.train_data_file), None)

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    seen = set()
    for moment in ("before", "after", "between"):  # sbatch and the record of its answer
        monkeypatch.setenv("MOMENT", moment)
        child = os.fork()
        if child == 0:
            held_sbatch.write_text(str(os.getpid()))
            if moment == "between":
                submit.record_job = killed
            submit.submit(loaded, plan, "slurm", root)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        (run,) = [run for run in list_runs(root) if run.path not in seen]
        seen.add(run.path)
        job_id = wait_for(lambda run=run: status_of(run, Scheduler()).job_id)
        shown = cluster.run(["squeue", "-h", "-o", "%k|%r", "-j", job_id]).stdout.strip()
        assert shown == f"ptycho-dist:{run.run_id}|JobHeldUser"
        assert status_of(run, Scheduler()).state == "pending"
    monkeypatch.setenv("MOMENT", "")
    command = [sys.executable, "-m", "launcher", "submit", config, "--cluster", "slurm", "--json",
               "--runs-dir", root]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=HANG_S)[0]) for process in both]
    assert len({answer["run_id"] for answer in answers}) == 2
    assert len({answer["job_id"] for answer in answers}) == 2
    runs = list_runs(root)
    jobs = [status_of(run, Scheduler()).job_id for run in runs]
    assert len(runs) == len(set(jobs)) == 5
    cluster.run(["scancel", *jobs])
