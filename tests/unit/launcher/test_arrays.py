"""Grids of runs: axes, their split over job arrays, what is refused, what is made, how it is shown
(specs/launch_plan.md, LP-230 to LP-240)."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from attempt_files import attempt_files
from hypothesis import given
from hypothesis import strategies as st
from waiting import HANG_S

from launcher.arrays import handover, resume
from launcher.arrays.grid import grid, parse_axes, split
from launcher.arrays.plan import plan_array
from launcher.arrays.prepare import prepare_array
from launcher.arrays.submit import script_of
from launcher.commands.which_run import named, one_run
from launcher.control.changes import Changes
from launcher.status.array_status import array_status, fold, summary
from launcher.status.overview import overview
from launcher.status.run_status import status_of
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.attempts.slurm_job import own_job_id
from ptycho_dist.config.faults import ConfigError
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import MAX_MEMBERS, ArrayDirectory, Indices, index_width
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.layout import SUBDIRECTORIES
from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.rundir.listing import list_runs
from ptycho_dist.runtime.local_array import LocalArray

VALUE = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(codec="ascii", min_codepoint=32), max_size=8),
    st.lists(st.integers(0, 9), max_size=3),
)


@given(st.lists(VALUE, min_size=1, max_size=5, unique_by=json.dumps))
def test_values_are_yaml_split_at_commas(values):
    """LP-230: a list in brackets stays whole."""
    text = ",".join(map(json.dumps, values))
    assert parse_axes([f"training.seed={text}"]) == {"training.seed": values}
    assert parse_axes(["training.seed=3, name ,[1, 2]"]) == {"training.seed": [3, "name", [1, 2]]}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_a_grid_holds_every_combination_once(sizes):
    """LP-230"""
    axes = {f"a.b{place}": list(range(size)) for place, size in enumerate(sizes)}
    points = [tuple(point.values()) for point in grid(axes)]
    assert len(points) == len(set(points)) == len(list(grid(axes)))
    assert points == sorted(points)  # the last axis changes fastest
    assert all(tuple(point) == tuple(axes) for point in grid(axes))


@given(
    members=st.integers(1, MAX_MEMBERS),
    size=st.integers(10, 20_000),
    chosen=st.sets(st.integers(0, MAX_MEMBERS - 1), min_size=1, max_size=50),
)
def test_job_arrays_hold_each_member_once_and_their_tasks_name_its_directory(members, size, chosen):
    """LP-232, LP-233"""
    indices = sorted(index for index in chosen if index < members) or [0]
    parts = split(indices, members, size)
    assert sorted(index for part in parts for index in part.indices) == indices
    array, width = ArrayDirectory(Path("/runs/a")), index_width(members)
    for part in parts:
        tasks = list(Indices.parse(part.tasks))
        assert len(tasks) == len(list(part.indices))
        assert max(tasks) < size
        stem = array.stem(width, part.base, part.digits)
        for task, index in zip(tasks, part.indices, strict=True):
            assert f"{stem}{task:0{part.digits}d}" == f"/runs/a/members/a.{index:0{width}d}"
    if members <= size:
        assert len(parts) == 1


@given(st.sets(st.integers(0, 9999), min_size=1))
def test_indices_are_read_as_they_are_written(numbers):
    indices = Indices.of(list(numbers))
    assert list(Indices.parse(str(indices))) == sorted(numbers)
    assert all(number in indices for number in numbers)
    assert (max(numbers) + 1) not in indices


@pytest.mark.parametrize(
    ("texts", "overrides", "words"),
    [
        (["resources.nodes=1,2"], [], "share one batch script"),
        (["resources=1"], [], "share one batch script"),
        (["environment.setup=[a],[b]"], [], "share one batch script"),
        (["requeue.signal_lead_s=60,90"], [], "share one batch script"),
        (["name=a,b"], [], "share one batch script"),
        (["site=a,b"], [], "share one batch script"),
        (["training.seed"], [], "section.field=value,value is expected"),
        (["training..seed=1"], [], "section.field=value,value is expected"),
        (["training.seed="], [], "no values"),
        (["training.seed=1,1"], [], "1 is given twice"),
        (["training.seed=1],[2"], [], "not valid YAML"),
        (["training.seed=&a 1,*a"], [], "aliases are not allowed"),
        (["training.seed=1", "training.seed=2"], [], "set each field once"),
        (["training={seed: 1}", "training.seed=2"], [], "set each field once"),
        (["training.seed=1"], ["training.seed=2"], "set each field once"),
        ([f"a.b{i}=1,2,3,4,5,6,7,8,9,10" for i in range(5)], [], "at most 10000"),
    ],
)
def test_axes_that_are_none_are_refused(texts, overrides, words):
    """LP-230, LP-231"""
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        parse_axes(texts, overrides)
    assert "\n" not in str(caught.value)


def test_a_slurm_without_job_arrays_is_told_of():
    with pytest.raises(UserError, match="does not accept job arrays"):
        split([0], 1, 1)


def test_faults_name_member_and_field(make_config):
    """LP-231: all of them, each once."""
    axes = ["training.batch_size=4,0,x", "training.nepochs=1,2"]
    with pytest.raises(ConfigError) as caught:
        plan_array(make_config(), [], axes)
    first, second = str(caught.value).splitlines()
    assert "training.batch_size: input should be greater than or equal to 1; found 0" in first
    assert "[member 002 (training.batch_size=0 training.nepochs=1) and 1 more]" in first
    assert 'found "x" [member 004' in second
    with pytest.raises(ConfigError, match=r"n_groups.*every member"):
        plan_array(make_config(), ["data.n_groups=99"], ["training.seed=1,2"])
    with pytest.raises(ConfigError, match=r"member 001 .*share one world size"):
        plan_array(make_config(), [], ["execution.devices=1,2"])
    with pytest.raises(ConfigError, match=r"member 001 .*another batch script"):
        plan_array(make_config(), [], ["requeue.on=[timeout],[]"])


@pytest.fixture
def array(make_config, tmp_path):
    plan = plan_array(make_config(), [], ["training.seed=1,2", "execution.learning_rate=1e-3,2e-3"])
    return prepare_array(plan, tmp_path / "runs")


def test_records_of_members_are_one_line_of_json(array):
    """LP-240: thousands are written at once."""
    for member in array.read()[1]:
        for path in (member.run.run_json, member.run.plan_json):
            text = path.read_text()
            assert text.count("\n") == 1
            assert text == json.dumps(json.loads(text)) + "\n"


def test_members_are_durable_before_they_can_be_seen(make_config, tmp_path, monkeypatch):
    """LP-240: all at once, and where that fails nothing is left."""
    plan = plan_array(make_config(), [], ["training.seed=1,2"])
    seen = []

    def refuse(hidden):
        seen.extend(path.name for path in sorted((hidden / "members").iterdir()))
        seen.append((hidden / "array.json").exists())
        raise OSError(5, "the disk refuses")

    monkeypatch.setattr("launcher.arrays.prepare._make_durable", refuse)
    with pytest.raises(UserError, match="the disk refuses"):
        prepare_array(plan, tmp_path / "runs")
    assert [name[-4:] for name in seen[:2]] == [".000", ".001"]
    assert seen[2] is True
    assert not list((tmp_path / "runs").iterdir())


def test_members_are_runs(array, tmp_path):
    """LP-234, LP-240"""
    axes, members = array.read()
    assert axes == {"training.seed": [1, 2], "execution.learning_rate": [1e-3, 2e-3]}
    assert [member.values["training.seed"] for member in members] == [1, 1, 2, 2]
    assert [run.path for run in list_runs(tmp_path / "runs")] == [m.run.path for m in members]
    for member in members:
        config = member.run.config()
        assert config.training.seed == member.values["training.seed"]
        assert config.execution.learning_rate == member.values["execution.learning_rate"]
        origins = json.loads(member.run.run_json.read_text())["origins"]
        assert origins["training.seed"] == "--array"
        assert member.run.path.stat().st_mode & 0o777 == 0o700
        assert f"run_dir={member.run.path}\n" in member.run.script.read_text()
        assert status_of(member.run).state == "prepared"
    assert not list((tmp_path / "runs").glob(".*"))
    run = members[0].run
    begin_attempt(run, job_id="7_0", cluster="slurm", nodes=["n"])
    assert all((run.path / name).is_dir() for name in SUBDIRECTORIES)


def test_runs_and_arrays_are_found_by_what_a_person_says(array, tmp_path):
    """LP-234"""
    root = tmp_path / "runs"
    _, members = array.read()
    assert named(root, members[3].run.run_id) == members[3].run
    assert named(root, "tiny.3") == named(root, "tiny.003") == members[3].run
    assert named(root, str(members[3].run.path)) == members[3].run
    assert named(root, "tiny") == named(root, str(array.path)) == array
    for reference in ("tiny", array.array_id, str(array.path)):
        with pytest.raises(UserError, match=r"an array of 4 runs; name one of them, .*\.000"):
            one_run(root, reference)
    with pytest.raises(UserError, match="no such run"):
        named(root, "tiny.004")


def test_a_script_takes_its_member_by_the_number_of_its_task(array, make_config, tmp_path):
    """LP-233: run for real, with a stand-in for Python that shows what it is given."""
    plan = plan_array(make_config(), [], ["training.seed=1,2,3"])
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "$4"\n')
    python.chmod(0o755)
    object.__setattr__(plan.shared, "python", python)
    for part, task in ((split([2], 3, 1001)[0], 2), (split([1207], 2000, 1001)[0], 207)):
        members = 3 if task == 2 else 2000
        text = script_of(plan.shared, array, part, number=1, members=members, throttle=4)
        assert f'#SBATCH --comment="ptycho-dist:{array.array_id}:001"' in text
        assert f"#SBATCH --array={task}%4\n" in text
        shown = '"$python" - - - "$run_dir"; exit\n'
        done = subprocess.run(
            ["bash", "-c", text.replace('attempt=$("$python"', shown)],
            env={"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": str(task)},
            capture_output=True, text=True, timeout=HANG_S,
        )  # fmt: skip
        index = "002" if task == 2 else "1207"
        assert done.stdout.strip() == f"{array.path}/members/{array.array_id}.{index}"
        digits, prefix = (3, "") if task == 2 else (3, "1")
        assert f"{array.array_id}.{prefix}%{digits}a/logs/batch-%A_%a.log" in text


def test_jobs_of_an_array_are_those_of_its_members(array, commands, monkeypatch):
    """LP-235: each by the id under which SLURM knows it; own jobs count as well."""
    _, members = array.read()
    job = {"cluster": "slurm", "submitted_at": 1.0, "base": 0}
    jobs = [{**job, "job_id": "7", "indices": "0-3"},
            {**job, "job_id": "9", "indices": "1,3", "submitted_at": 2.0}]  # fmt: skip
    write_json_atomic(array.submission_json, {"format": 1, "jobs": jobs})
    commands()
    assert [status_of(member.run).job_id for member in members] == ["7_0", "9_1", "7_2", "9_3"]
    own = {"job_id": "12", "cluster": "slurm", "submitted_at": 3.0}
    write_json_atomic(members[3].run.submission_json, {"format": 1, "jobs": [own]})
    assert status_of(members[3].run).job_id == "12"
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert own_job_id() == "7_0"


def test_slurm_is_asked_once_for_all_members(array, commands):
    """LP-236"""
    job = {"cluster": "slurm", "submitted_at": 1.0, "base": 0, "job_id": "7", "indices": "0-3"}
    write_json_atomic(array.submission_json, {"format": 1, "jobs": [job]})
    calls = commands(
        squeue='echo "7_0|RUNNING|N/A|None"; echo "7_1|PENDING|N/A|Priority"',
        sacct='echo "7_2|COMPLETED|0:0|n1|Unknown|"',
    )

    def called():
        return [line.partition(" ")[0] for line in calls.read_text().splitlines()]

    status = array_status(array)
    assert status.summary == "4: 1 running, 1 pending, 1 failed, 1 lost"
    assert not status.over
    assert called() == ["squeue", "sacct"]
    shown = json.loads(json.dumps(status.to_json()))
    assert shown["counts"] == {"running": 1, "pending": 1, "failed": 1, "lost": 1}
    assert shown["members"][2]["values"] == {"training.seed": 2, "execution.learning_rate": 0.001}
    (folded,) = fold(overview(list_runs(array.path.parent)))
    assert (folded.array_id, folded.summary[:2]) == (array.array_id, "4:")
    commands(squeue="exit 1", sacct="exit 1")
    calls.write_text("")
    assert array_status(array).summary == "4: 4 unknown"
    assert called() == ["squeue", "sacct"]  # a SLURM that hangs is not asked for each of 1 000


@given(st.lists(st.sampled_from(["running", "finished", "failed", "lost", "pending"])))
def test_counts_add_up(states):
    assert sum(int(part.split()[0]) for part in summary(states).split(": ", 1)[1].split(", ")
               if part) == len(states)  # fmt: skip


def test_a_member_that_was_cancelled_before_its_turn_is_left_out(array, capsys):
    """LP-238: on this machine one process runs the members in a row."""
    own = str(LocalProcess.of(os.getpid()))
    job = {"cluster": "local", "submitted_at": time.time(), "base": 0, "job_id": own,
           "indices": "1"}  # fmt: skip
    write_json_atomic(array.submission_json, {"format": 1, "jobs": [job]})
    run = array.read()[1][1].run
    assert (status_of(run).state, status_of(run).said_by) == ("pending", "processes")
    with LedgerWriter(run, 0, "launcher") as ledger:
        ledger.append("cancel_requested", job_id=own)
    assert status_of(run).state == "cancelled"
    assert LocalArray(array, Indices.parse("1")).run() == 0
    assert "cancelled before it began" in capsys.readouterr().out
    assert not attempt_files(run)


def test_resume_takes_those_that_did_not_finish(array, commands, monkeypatch):
    """LP-239: finished, alive, and cancelled by name stay as they are."""
    job = {"cluster": "slurm", "submitted_at": 1.0, "base": 0, "job_id": "7", "indices": "0-3"}
    write_json_atomic(array.submission_json, {"format": 1, "jobs": [job]})
    runs = [member.run for member in array.read()[1]]
    for number, run in enumerate(runs[:3]):
        begin_attempt(run, job_id=f"7_{number}", cluster="slurm", nodes=["n"])
    runs[0].result_json.write_text("{}")
    end_attempt(runs[0], 1, 0)
    for run, number, whole in ((runs[1], 1, {}), (runs[2], 2, {"whole_array": True})):
        with LedgerWriter(run, 1, "launcher") as ledger:
            ledger.append("cancel_requested", job_id=f"7_{number}", **whole)
    states = ("7_1|CANCELLED|N/A|None", "7_2|CANCELLED|N/A|None", "7_3|RUNNING|N/A|None")
    commands(squeue="; ".join(f'echo "{state}"' for state in states), sacct="true")
    monkeypatch.setattr(resume, "require_cluster", lambda *_: None)
    monkeypatch.setattr(resume, "parts_for", lambda cluster, indices, members: [
        split(indices, members, 1001)[0]])  # fmt: skip
    handed = []
    monkeypatch.setattr(
        handover, "hand_over", lambda directory, job, cluster, record, known:
        handed.append((directory, record["indices"], known)) or "11",
    )  # fmt: skip
    submitted = resume.resume_array(array, None, Changes())
    assert (submitted.members, submitted.left, handed) == (1, 0, [(array, "2", 1)])
    runs[2].result_json.write_text("{}")
    with pytest.raises(UserError, match=r"nothing to resume .*cancelled by name"):
        resume.resume_array(array, None, Changes())


def test_an_array_json_that_is_none_is_one_line(array):
    """LP-234: files of a run directory are untrusted input."""
    good = json.loads(array.array_json.read_text())
    bad_member = {**good["members"][0], "run_id": "../../etc"}
    for change in ({"format": 2}, {"axes": 3}, {"members": [7]}, {"members": [bad_member]},
                   {"members": good["members"][1:]}):  # fmt: skip
        array.array_json.write_text(json.dumps({**good, **change}))
        with pytest.raises(UserError, match="not an array") as caught:
            array.read()
        assert "\n" not in str(caught.value)
    array.array_json.write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        array_status(array)


def test_throttle_and_plan_are_shown(make_config, launch):
    """LP-232: `plan --array` shows count, split and first script; nothing is made."""
    config = make_config()
    done = launch("plan", config, "--array", "training.seed=1,2,3", "--throttle", "2", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["array"]["members"] == 3
    assert shown["array"]["job_arrays"] == [{"indices": "0-2", "tasks": "0-2"}]
    assert "#SBATCH --array=0-2%2\n" in shown["script"]
    with pytest.raises(UserError, match="at least one member"):
        plan_array(config, [], ["training.seed=1,2"], 0)
    with pytest.raises(UserError, match="there is no --array"):
        plan_array(config, [], [], 3)
