"""A submission may be killed at any step: its job is known, or there is none (LP-220 to LP-224).

SLURM's commands are stand-ins that keep their queue in a file, so that the submission can be killed
at every call it makes of the system. tests/slurm/test_arrays.py does the same on a real cluster.
"""

import json
import os
import signal
import sys
import time
from functools import partial

import pytest
from waiting import HANG_S

from launcher.arrays.handover import submit_again
from launcher.arrays.plan import plan_array
from launcher.arrays.prepare import prepare_array
from launcher.arrays.submit import jobs_of_array, parts_for
from launcher.cli import main
from launcher.control.changes import Changes
from launcher.control.resume import resume
from launcher.control.submission import settle
from launcher.control.submit import submit
from launcher.planning.data_facts import read_data_facts
from launcher.planning.plan import make_plan
from launcher.slurm.jobs import Scheduler
from launcher.status.details import details_of
from launcher.status.overview import overview
from launcher.status.run_status import status_of
from ptycho_dist.config.load import read_run_config
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.listing import list_runs

SBATCH = """
script=${@: -1}
comment=$(sed -n 's/^#SBATCH --comment="\\(.*\\)"/\\1/p' "$script")
id=$(( $(cat "$QUEUE" 2>/dev/null | wc -l) + 1 ))
[ -n "$KILL_BEFORE" ] && kill -KILL $(cat "$KILL_BEFORE") && sleep 0.4
echo "$id|$comment" >> "$QUEUE"
[ -n "$KILL_AFTER" ] && kill -KILL $(cat "$KILL_AFTER")
echo "Submitted batch job $id"
"""
SQUEUE = """
[ -n "$DEAD_SQUEUE" ] && exit 1
case "$*" in
    *%F*) cat "$QUEUE" 2>/dev/null; exit 0 ;;
    *) id=${@: -1}; id=${id#--jobs=}; grep -q "^$id|" "$QUEUE" && echo "$id|PENDING|N/A|Priority" ;;
esac
"""
# 12 members where a job array may have 10 tasks: two job arrays
CONFIG = 'case "$*" in *config*) echo "MaxArraySize = 10" ;; *) echo "is UP" ;; esac'
COMMANDS = {"sbatch": SBATCH, "squeue": SQUEUE, "srun": "", "sacct": "exit 1",
            "scontrol": CONFIG}  # fmt: skip


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Puts stand-ins for SLURM on PATH; returns the file of their queue."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    for name in ("KILL_BEFORE", "KILL_AFTER", "DEAD_SQUEUE"):
        monkeypatch.setenv(name, "")
    return tmp_path / "queue"


@pytest.fixture
def planned(make_config):
    loaded = read_run_config(make_config()).sound()
    return loaded, make_plan(loaded, read_data_facts(loaded.config.data.train_data_file), None)


def tree(place):
    """Every file and directory below a place, with its contents and times."""
    return {
        path: (path.read_bytes() if path.is_file() else None, path.lstat().st_mtime_ns)
        for path in sorted(place.rglob("*"))
    }


def settled(run):
    """The state of a run whose submission was settled; without that it is the same."""
    before = status_of(run, Scheduler())
    settle([run], Scheduler())
    status = status_of(run, Scheduler())
    if before.state != "pending":  # else sbatch may have ended meanwhile
        assert (status.state, status.job_id) == (before.state, before.job_id)
    return status


def in_child(work):
    """Run something in a child process; returns how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at_call(number, work):
    """Run something in a child that is killed before it changes its surroundings the n-th time.

    Changes are those of the disk, the start of a program, and a lock. Returns whether the child
    made as many.
    """
    calls = 0

    def hook(event, arguments):
        nonlocal calls
        changes = event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink",
                            "os.chmod", "fcntl.flock", "subprocess.Popen"}  # fmt: skip
        if changes or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched():
        sys.addaudithook(hook)
        work()

    return os.WIFSIGNALED(in_child(watched))


def test_wherever_a_submission_is_killed_its_job_is_known_or_there_is_none(
    slurm, planned, tmp_path
):
    """LP-220, LP-221"""
    root = tmp_path / "runs"
    number, outcomes = 0, set()
    while True:
        number += 1
        slurm.unlink(missing_ok=True)
        before = {run.path for run in list_runs(root)}
        killed = killed_at_call(number, lambda: submit(*planned, "slurm", root))
        if not killed:
            break
        queued = slurm.read_text().splitlines() if slurm.exists() else []
        new = [run for run in list_runs(root) if run.path not in before]
        states = [settled(run) for run in new]
        if queued:
            (job_id, _, comment) = queued[0].partition("|")
            assert [status.job_id for status in states] == [job_id]
            assert states[0].state == "pending"
            assert comment == f"ptycho-dist:{new[0].run_id}"
        else:
            assert all((status.state, status.job_id) == ("prepared", None) for status in states)
        for run in new:
            again = status_of(run, Scheduler())  # as it was recorded
            assert (again.state, again.job_id) == (states[0].state, states[0].job_id)
            record = json.loads(run.submission_json.read_text()) if queued else {}
            assert "intent" not in record
        outcomes.add((len(new), len(queued)))
    assert outcomes == {(0, 0), (1, 0), (1, 1)}
    assert number > 30


def test_wherever_the_submission_of_an_array_is_killed(slurm, make_config, tmp_path):
    """LP-220, LP-237: each member has its job, or none; `resume` submits what has none."""
    seeds = ",".join(map(str, range(12)))
    plan = plan_array(make_config(), [], [f"training.seed={seeds}"])
    array = prepare_array(plan, tmp_path / "runs")
    _, members = array.read()
    parts = parts_for("slurm", range(12), 12)
    assert [str(part.indices) for part in parts] == ["0-9", "10-11"]
    jobs = partial(
        jobs_of_array, parts=parts, plan=plan.shared, cluster="slurm", members=12, throttle=None
    )
    number, outcomes = 0, set()
    while True:
        number += 1
        for path in (slurm, array.submission_json):
            path.unlink(missing_ok=True)
        killed = killed_at_call(number, lambda: submit_again(array, [], "slurm", jobs))
        queued = slurm.read_text().splitlines() if slurm.exists() else []
        runs = [members[index].run for index in (0, 11)]
        found = [status_of(run, Scheduler()).job_id for run in runs]
        settle([array], Scheduler())
        assert [status_of(run, Scheduler()).job_id for run in runs] == found
        assert found == ["1_0" if queued else None, "2_1" if len(queued) == 2 else None]
        record = json.loads(array.submission_json.read_text()) if queued else {}
        assert "intent" not in record
        outcomes.add(len(queued))
        if not killed:
            break
    assert outcomes == {0, 1, 2}
    assert number > 20


@pytest.mark.parametrize("moment", ["KILL_BEFORE", "KILL_AFTER"])
def test_sbatch_outlives_its_launcher(slurm, planned, tmp_path, monkeypatch, moment):
    """LP-222: while sbatch is at work, no command says that there is no job."""
    root, pid_file = tmp_path / "runs", tmp_path / "pid"
    monkeypatch.setenv(moment, str(pid_file))

    def work():
        pid_file.write_text(str(os.getpid()))
        submit(*planned, "slurm", root)

    assert os.WIFSIGNALED(in_child(work))
    (run,) = list_runs(root)
    deadline, seen = time.monotonic() + HANG_S, []
    while not seen or seen[-1][1] is None:
        status = settled(run)
        seen.append((status.state, status.job_id))
        assert status.state == "pending"
        assert time.monotonic() < deadline
    assert seen[-1] == ("pending", "1")
    if moment == "KILL_BEFORE":
        assert ("pending", None) in seen
    monkeypatch.setenv(moment, "")
    assert submit(*planned, "slurm", root).job_id == "2"
    assert len(list_runs(root)) == 2


def test_if_slurm_does_not_answer_no_command_says_that_there_is_no_job(
    slurm, planned, tmp_path, monkeypatch
):
    """LP-223"""
    root, pid_file = tmp_path / "runs", tmp_path / "pid"
    pid_file.write_text("")
    monkeypatch.setenv("KILL_AFTER", str(pid_file))

    def work():
        pid_file.write_text(str(os.getpid()))
        submit(*planned, "slurm", root)

    in_child(work)
    monkeypatch.setenv("DEAD_SQUEUE", "1")
    (run,) = list_runs(root)
    time_out = time.monotonic() + HANG_S
    while (status := status_of(run, Scheduler())).state == "pending":
        assert time.monotonic() < time_out
    assert status.state == "unknown"
    assert not status.over
    with pytest.raises(UserError, match="only a run that is over is resumed"):
        resume(run, None, Changes())
    monkeypatch.setenv("DEAD_SQUEUE", "")
    assert settled(run).job_id == "1"
    assert "intent" not in json.loads(run.submission_json.read_text())


@pytest.fixture
def orphans(slurm, planned, tmp_path, monkeypatch):
    """The directory of two runs whose submissions were killed: one has a job, the other none."""
    root, pid_file = tmp_path / "runs", tmp_path / "pid"

    def work():
        pid_file.write_text(str(os.getpid()))
        submit(*planned, "slurm", root)

    for moment, place in (("KILL_BEFORE", "/dev/null"), ("KILL_AFTER", slurm)):
        monkeypatch.setenv(moment, str(pid_file))
        monkeypatch.setenv("QUEUE", str(place))
        assert os.WIFSIGNALED(in_child(work))
        monkeypatch.setenv(moment, "")
    monkeypatch.setenv("QUEUE", str(slurm))
    deadline = time.monotonic() + HANG_S
    while any("being submitted" in status.cause for status in overview(list_runs(root))):
        assert time.monotonic() < deadline
    return root


def test_reading_a_killed_submission_writes_nothing(orphans):
    """`status` reads, `control` changes: the job is known before a command records it."""
    before = tree(orphans)
    runs = list_runs(orphans)
    found = {status.run_id: (status.state, status.job_id) for status in overview(runs)}
    assert sorted(found.values(), key=str) == [("pending", "1"), ("prepared", None)]
    assert {run.run_id: status_of(run).job_id for run in runs} == {
        run_id: job_id for run_id, (_, job_id) in found.items()
    }
    for run in runs:
        details_of(run, status_of(run)).to_json()
    assert tree(orphans) == before


@pytest.mark.parametrize("command", ["status", "list", "explain", "report"])
def test_a_command_records_what_it_finds(orphans, capsys, command):
    """LP-221"""
    records = [json.loads(run.submission_json.read_text()) for run in list_runs(orphans)]
    assert all("intent" in record for record in records)
    for run in list_runs(orphans):
        named = [] if command == "list" else [run.run_id]
        assert main([command, *named, "--runs-dir", str(orphans), "--json"]) == 0
    records = [json.loads(run.submission_json.read_text()) for run in list_runs(orphans)]
    assert not any("intent" in record for record in records)
    jobs = [job["job_id"] for record in records for job in record["jobs"]]
    assert jobs == ["1"]


def test_two_resumes_at_once_submit_one_job(slurm, planned, tmp_path):
    """LP-224"""
    root = tmp_path / "runs"
    run = submit(*planned, "slurm", root).run
    slurm.write_text("0|other\n")  # SLURM has forgotten job 1
    run.submission_json.unlink()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                resume(run, "slurm", Changes())
            except UserError:
                os._exit(2)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    ends = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert ends == [0, 2]
    assert slurm.read_text().count(run.run_id) == 1


def test_a_record_that_is_damaged_is_one_line(slurm, planned, tmp_path):
    root = tmp_path / "runs"
    run = submit(*planned, "slurm", root).run
    for text in (
        '{"jobs": 3}',
        '{"jobs": [{"job_id": 1}]}',
        "[]",
        '{"jobs": [], "intent": 4}',
        '{"jobs": [{"job_id": "1"}]}',
        '{"jobs": [], "intent": {"cluster": "slurm"}}',
    ):
        run.submission_json.write_text(text)
        with pytest.raises(UserError, match=r"submission\.json: .*; damaged"):
            status_of(run, Scheduler())
