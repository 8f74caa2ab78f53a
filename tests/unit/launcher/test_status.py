"""What `status` shows when something is wrong (RD-070, RD-071)."""

import io
import json
import os
import stat
import subprocess

import pytest
from attempt_files import attempt_files
from rich.console import Console
from waiting import HANG_S

from launcher.cli import main
from launcher.control.changes import Changes
from launcher.control.resume import resume
from launcher.slurm.jobs import Scheduler
from launcher.status.run_status import status_of
from launcher.watching.watch import watch
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.heartbeat import Heartbeat, write_heartbeat
from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan


@pytest.fixture
def run(make_config, tmp_path):
    loaded = read_run_config(make_config("resources: {tasks_per_node: 2}")).sound()
    plan = RunPlan(world=world_of(loaded.config, 37))
    return prepare_run(tmp_path / "runs" / "r-1", loaded, plan, "#!/bin/bash\n")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Replace SLURM's commands; returns the file that counts their calls."""
    calls = tmp_path / "calls"
    folder = tmp_path / "bin"
    folder.mkdir()

    def pretend(text):
        for name in ("squeue", "sacct", "scontrol", "scancel"):
            path = folder / name
            path.write_text(f'#!/bin/bash\necho "{name} $*" >> {calls}\n{text}\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return calls

    return pretend


def submitted(run, job_id, cluster):
    job = {"job_id": job_id, "cluster": cluster, "submitted_at": 1.0}
    write_json_atomic(run.submission_json, {"format": 1, "jobs": [job]})


def beat(run, state="training", **kwargs):
    values = {"rank": 0, "node": "n", "pid": 2**22 + 1, "attempt": 1, "state": state, **kwargs}
    write_heartbeat(run, Heartbeat(**values))


def test_a_slurm_that_is_silent_is_unknown_not_over(run, slurm):
    """RD-072"""
    submitted(run, "7", "slurm")
    slurm("exit 1")
    status = status_of(run)
    assert (status.state, status.over) == ("unknown", False)
    with pytest.raises(UserError, match="only a run that is over is resumed"):
        resume(run, None, Changes())


def test_a_slurm_that_has_forgotten_the_job_makes_it_lost(run, slurm):
    submitted(run, "7", "slurm")
    slurm('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    assert status_of(run).state == "lost"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("PENDING|N/A|Resources", "pending"),
        ("RUNNING|N/A|None", "running"),
        ("CANCELLED|N/A|None", "cancelled"),
        ("TIMEOUT|N/A|None", "failed"),
        ("NODE_FAIL|N/A|None", "failed"),
        ("COMPLETED|N/A|None", "failed"),  # without a result: G10
    ],
)
def test_what_slurm_says(run, slurm, answer, state):
    submitted(run, "7", "slurm")
    slurm(f'echo "7|{answer}"')
    assert status_of(run).state == state


def test_a_result_counts_however_the_job_ends_afterwards(run, slurm):
    submitted(run, "7", "slurm")
    slurm('echo "7|TIMEOUT|N/A|None"')
    write_json_atomic(run.result_json, {})
    assert status_of(run).state == "finished"


def test_the_scheduler_is_asked_seldom(run, slurm):
    submitted(run, "7", "slurm")
    calls = slurm('echo "7|RUNNING|N/A|None"')
    scheduler = Scheduler(every_s=60)
    for _ in range(20):
        assert status_of(run, scheduler).state == "running"
    assert len(calls.read_text().splitlines()) == 1


def test_a_run_of_another_machine_is_not_judged_here(run):
    submitted(run, "elsewhere:1:2", "local")
    status = status_of(run)
    assert (status.state, status.over) == ("unknown", False)
    assert "elsewhere" in status.cause


def test_a_process_number_that_is_used_again_is_not_the_run(run):
    own = LocalProcess.of(os.getpid())
    submitted(run, str(own), "local")
    assert status_of(run).state == "running"
    submitted(run, str(LocalProcess(own.machine, own.pid, own.started - 1)), "local")
    assert status_of(run).state == "failed"


def test_ranks_that_outlive_their_local_cluster_are_running(run):
    gone = LocalProcess(LocalProcess.of(1).machine, 2**22 + 1, 1)
    submitted(run, str(gone), "local")
    begin_attempt(run, job_id=str(gone), cluster="local", nodes=["n"])
    beat(run, pid=os.getpid())
    assert status_of(run).state == "running"
    beat(run)
    assert status_of(run).state == "failed"


def test_brackets_in_a_cause_are_shown_as_they_are(run, capsys, monkeypatch):
    cause = "RuntimeError: [/pytorch/third_party/gloo/pair.cc:547] Connection closed by [rank 0]"
    gone = str(LocalProcess(LocalProcess.of(1).machine, 2**22 + 1, 1))
    submitted(run, gone, "local")
    begin_attempt(run, job_id=gone, cluster="local", nodes=["n"])
    beat(run, state="failed", reason=cause)
    end_attempt(run, 1, 1)
    assert cause in status_of(run).cause
    assert main(["status", str(run.path)]) == 0
    assert "[/pytorch/third_party" in capsys.readouterr().out
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
        assert watch(run, console).state == "failed"


def test_a_run_that_finished_while_it_was_being_cancelled_is_finished(run):
    gone = str(LocalProcess(LocalProcess.of(1).machine, 2**22 + 1, 1))
    submitted(run, gone, "local")
    begin_attempt(run, job_id=gone, cluster="local", nodes=["n"])
    with LedgerWriter(run, 1, "launcher") as ledger:
        ledger.append("cancel_requested", job_id=gone)
    end_attempt(run, 1, 75)
    assert status_of(run).state == "cancelled"
    write_json_atomic(run.result_json, {})
    end_attempt(run, 1, 143)
    assert status_of(run).state == "finished"
    assert attempt_files(run)[0]["outcome"] == "finished"


def test_one_damaged_run_does_not_hide_the_others(run, capsys):
    broken = run.path.parent / "a-broken"
    broken.mkdir()
    (broken / "run.json").write_text("{}")
    (broken / "submission.json").write_text("{")
    assert main(["list", "--runs-dir", str(run.path.parent), "--json"]) == 0
    output = capsys.readouterr()
    found = {entry["run_id"]: entry for entry in json.loads(output.out)}
    assert (found["r-1"]["state"], found["a-broken"]["state"]) == ("prepared", "damaged")
    assert "submission.json" in found["a-broken"]["cause"]


def test_a_copied_run_directory_is_not_resumed(run, tmp_path, launch):
    gone = str(LocalProcess(LocalProcess.of(1).machine, 2**22 + 1, 1))
    run.script.write_text("run_dir=/somewhere/else\n")
    submitted(run, gone, "local")
    done = launch("resume", run.path)
    assert done.returncode == 2
    assert "copied or moved" in done.stderr


def test_a_setup_that_sets_errexit_still_records_the_end(make_config, tmp_path):
    """LP-045: `set -euo pipefail` is a common line of environment.setup."""
    from launcher.planning.plan import DataFacts, make_plan
    from launcher.planning.script import render

    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("srun", "exit 75"),
        ("python", f'[ "$3" = begin ] && echo "001 {{}}"; echo "$@" >> {tmp_path}/said; exit 0'),
    ):
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    config = make_config('environment: {setup: ["set -euo pipefail"]}')
    plan = make_plan(read_run_config(config).sound(), DataFacts(37, 64), None)
    object.__setattr__(plan, "python", folder / "python")
    script = render(plan, tmp_path / "run")
    subprocess.run(
        ["bash", "-c", script], env={"PATH": f"{folder}:/usr/bin:/bin"}, timeout=HANG_S, check=True
    )
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert last.split()[2:] == ["end", str(tmp_path / "run"), "001", "75"]
