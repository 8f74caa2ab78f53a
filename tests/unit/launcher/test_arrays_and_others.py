"""Arrays together with frozen code, sites, `list`, `clean` and `submit --after`."""

import json
import os
import signal
import time

import pytest

from launcher.arrays.plan import plan_array
from launcher.arrays.prepare import prepare_array
from launcher.arrays.submit import submit_array
from launcher.cli import main
from launcher.control.after import dependency_options
from launcher.control.changes import Changes
from launcher.control.code_state import OwnCode
from launcher.control.handover import Handover
from launcher.control.resume import make_ready
from launcher.slurm.job_state import JobState
from launcher.status.array_status import array_status
from launcher.status.run_status import status_of
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.attempts.containers import container_command
from ptycho_dist.config.faults import ConfigError
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.frozen import damage_of_code


@pytest.fixture
def make_array(make_config, tmp_path):
    def make(members=2, text="", **more):
        seeds = ",".join(map(str, range(members)))
        plan = plan_array(make_config(text), [], [f"training.seed={seeds}"], **more)
        return prepare_array(plan, tmp_path / "runs")

    return make


@pytest.fixture
def slurm_says(monkeypatch):
    """What SLURM says of each job, in place of SLURM."""
    states = {}

    def answer(job_ids):
        return {job: JobState(states.get(job, "PENDING"), "", "squeue") for job in job_ids}

    monkeypatch.setattr("launcher.slurm.jobs._job_states", answer)
    return states


def runs_of(array):
    return [member.run for member in array.read()[1]]


def submitted(array, *jobs):
    records = [
        {
            "cluster": "slurm",
            "submitted_at": time.time(),
            "base": 0,
            "job_id": job,
            "indices": indices,
        }
        for job, indices in jobs
    ]
    write_json_atomic(array.submission_json, {"format": 1, "jobs": records})


def over(run, job_id, *, finished):
    begin_attempt(run, job_id=job_id, cluster="slurm", nodes=["n"])
    if finished:
        write_json_atomic(run.result_json, {})
    end_attempt(run, 1, 0 if finished else 1)


def test_members_share_one_copy_of_the_code(make_array, tmp_path):
    """LP-241"""
    array = make_array(text="environment: {snapshot: true}")
    for run in runs_of(array):
        assert run.code.readlink() == run.code_json.readlink().with_name("code")
        assert not run.code.readlink().is_absolute()
        assert run.code.resolve() == array.code
        assert damage_of_code(run, run.plan().code.sha256) is None
        assert f"{run.code} ptycho_dist" in " ".join(Handover.of_run(run).program)
    run_id = runs_of(array)[0].run_id
    moved = array.path.rename(tmp_path / "moved")
    assert (moved / "members" / run_id / "code" / "ptycho_dist").is_dir()


def test_a_member_that_is_resumed_gets_a_record_of_its_own(make_array):
    """LP-241"""
    array = make_array(text="environment: {snapshot: true}")
    first, second = runs_of(array)
    over(first, "7_0", finished=False)
    before = array.code_json.read_bytes()
    make_ready(first, status_of(first), Changes(), OwnCode()).write()
    assert len(json.loads(first.code_json.read_text())["states"]) == 2
    assert not first.code_json.is_symlink()
    assert first.code.is_symlink()
    assert array.code_json.read_bytes() == second.code_json.read_bytes() == before
    thaw, freeze = (Changes([f"environment.snapshot={each}"]) for each in ("false", "true"))
    make_ready(first, status_of(first), thaw, OwnCode()).write()
    make_ready(first, status_of(first), freeze, OwnCode()).write()
    assert not first.code.is_symlink(), "frozen anew, it has a copy of the code that is here now"
    assert second.code.resolve() == array.code
    assert (array.code / "ptycho_dist").is_dir()


def test_code_that_was_changed_is_refused_for_each_member(make_array):
    array = make_array(text="environment: {snapshot: true}")
    run = runs_of(array)[1]
    over(run, "7_1", finished=False)
    source = array.code / "ptycho_dist" / "errors.py"
    source.chmod(0o600)
    source.write_text("# changed\n")
    with pytest.raises(UserError, match="was changed after it was copied"):
        make_ready(run, status_of(run), Changes(), OwnCode())


def test_an_image_sees_what_members_share(make_array):
    """LP-050"""
    array = make_array(text="environment: {container: /images/x.sif}")
    run = runs_of(array)[0]
    assert str(array.path) in container_command(run.config(), run.path)


def test_members_are_planned_by_the_rules_of_their_site(make_array, tmp_path, monkeypatch):
    """RC-020, LP-231"""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "ptycho-dist" / "sites"
    folder.mkdir(parents=True)
    (folder / "beamline.yaml").write_text(
        "title: x\nrules: {gpus_as: gres}\ndefaults: {resources: {partition: p}}\n"
        "partitions: {p: {max_time: 2:00:00}}"
    )
    array = make_array(text="site: beamline\nresources: {gpus_per_node: 2}")
    for run in runs_of(array):
        assert "#SBATCH --gres=gpu:2" in run.script.read_text()
        origins = json.loads(run.run_json.read_text())["origins"]
        assert origins["resources.partition"] == "site beamline"
        assert origins["training.seed"] == "--array"
    with pytest.raises(ConfigError, match=r"at most 2:00:00.*every member"):
        make_array(text='site: beamline\nresources: {time: "3:00:00"}')


def test_a_list_shows_an_array_as_one_line(make_array, slurm_says, capsys, tmp_path):
    """LP-236"""
    array = make_array(4)
    submitted(array, ("7", "0-3"))
    runs = runs_of(array)
    over(runs[0], "7_0", finished=True)
    over(runs[1], "7_1", finished=False)
    root = ["list", "--runs-dir", str(tmp_path / "runs")]
    assert main(root) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert line.split("  ")[:2] == [array.array_id, "4: 2 pending, 1 finished, 1 failed"]
    main([*root, "--state", "failed,finished"])
    assert "2: 1 finished, 1 failed" in capsys.readouterr().out
    main([*root, "--json", "--state", "failed"])
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["run_id"], entry["array_id"]) == (runs[1].run_id, array.array_id)


def test_status_without_a_run_takes_the_newest_array_as_a_whole(make_array, capsys, tmp_path):
    array = make_array()
    assert main(["status", "--json", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert json.loads(capsys.readouterr().out)["array_id"] == array.array_id


@pytest.mark.parametrize("command", ["logs", "explain", "verify"])
def test_what_is_asked_of_one_run_names_a_member(make_array, capsys, tmp_path, command):
    array = make_array()
    assert main([command, array.array_id, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert f"name one of them, {array.array_id}.000" in capsys.readouterr().err


def test_an_array_is_removed_as_a_whole_when_all_members_are_over(
    make_array, slurm_says, capsys, tmp_path
):
    """LP-243"""
    array = make_array(text="environment: {snapshot: true}")
    submitted(array, ("7", "0-1"))
    first, second = runs_of(array)
    over(first, "7_0", finished=True)

    def clean(*arguments):
        command = ["clean", "--runs-dir", str(tmp_path / "runs"), *arguments]
        assert main([*command, "--delete", "--yes"]) == 0
        return capsys.readouterr().out

    assert "not all of its members are over" in clean(array.array_id)
    kept = f"a member of the array {array.array_id}, which is removed as a whole"
    assert kept in clean(first.run_id)
    over(second, "7_1", finished=False)
    clean()
    assert first.path.exists(), "finished alone is asked for, and one has failed"
    states = ("--state", "finished,failed")
    note = second.path / "notes.txt"
    note.write_text("mine")
    assert "a person has put members/" in clean(array.array_id)
    note.unlink()
    (tmp_path / "kept").mkdir()
    (second.path / "logs" / "link").symlink_to(tmp_path / "kept")
    clean(*states)
    assert os.listdir(tmp_path / "runs") == []  # noqa: PTH208 - bare names
    assert (tmp_path / "kept").exists()


def test_a_run_waits_for_the_job_arrays_of_an_array(make_array, slurm_says):
    """LP-242"""
    array = make_array(4)
    with pytest.raises(UserError, match=r"--after .*\.000: it is prepared"):
        dependency_options([array])
    submitted(array, ("7", "0-2"), ("8", "3"))
    first, second, *_ = runs_of(array)
    assert dependency_options([array])[0] == "--dependency=afterok:7:8"
    over(first, "7_0", finished=True)
    assert dependency_options([array])[0] == "--dependency=afterok:7:8"
    over(second, "7_1", finished=False)
    with pytest.raises(UserError, match=r"\.001: it is failed .*resume it first"):
        dependency_options([array])
    submitted(array, ("7", "0-2"), ("8", "3"), ("9", "1"))
    assert dependency_options([array])[0] == "--dependency=afterok:7_2:8:9", (
        "job array 7 as a whole has failed"
    )
    with pytest.raises(UserError, match="--cluster slurm"):
        dependency_options([array], "local")


def test_members_are_asked_of_as_their_array(make_array, commands):
    """LP-236: the command line stays short."""
    array = make_array(12)
    submitted(array, ("7", "0-11"))
    calls = commands(squeue='for task in {0..11}; do echo "7_$task|PENDING|N/A|Priority"; done')
    assert array_status(array).summary == "12: 12 pending"
    (asked,) = calls.read_text().splitlines()
    assert asked.endswith(" --jobs=7")


def test_each_job_array_waits(make_config, tmp_path, monkeypatch):
    """LP-242: `submit --array --after`."""
    plan = plan_array(make_config(), [], ["training.seed=1,2,3,4,5,6,7,8,9,10,11,12"])
    handed = []
    for name, value in {
        "submit.require_cluster": None,
        "submit.max_array_size": 10,
        "submit.dependency_options": ("--dependency=afterok:3",),
    }.items():
        monkeypatch.setattr(f"launcher.arrays.{name}", lambda *_, value=value: value)
    monkeypatch.setattr(
        "launcher.arrays.handover.hand_over", lambda array, job, *_: handed.append(job) or "7"
    )
    submit_array(plan, "slurm", tmp_path / "runs")
    assert [job.options for job in handed] == [("--dependency=afterok:3",)] * 2


def test_ctrl_c_ends_the_submitting_after_the_job_array_at_hand(
    make_config, tmp_path, monkeypatch, capsys
):
    """LP-237: the members of the others are prepared, and the command says so."""
    seeds = ",".join(map(str, range(12)))
    monkeypatch.setattr("launcher.arrays.submit.require_cluster", lambda *_: None)
    monkeypatch.setattr("launcher.arrays.submit.max_array_size", lambda: 10)

    def press(*_):
        os.kill(os.getpid(), signal.SIGINT)
        return "7"

    monkeypatch.setattr("launcher.control.submit.submit_script", press)
    command = ["submit", str(make_config()), "--array", f"training.seed={seeds}",
               "--cluster", "slurm", "--runs-dir", str(tmp_path / "runs")]  # fmt: skip
    assert main(command) == 130
    (array,) = (tmp_path / "runs").iterdir()
    said = capsys.readouterr()
    assert said.err == (
        "interrupted: 2 of 12 runs are not submitted; "
        f"`ptycho-launch resume {array}` submits them\n"
    )
    assert "10 runs (slurm job 7)" in said.out
    assert f"follow them: ptycho-launch status {array} --watch" in said.out


def test_ctrl_c_before_the_first_job_array_leaves_nothing(
    make_config, tmp_path, monkeypatch, capsys
):
    """LP-237, SC-012: there is nothing to follow, and nothing to resume."""
    handed = []

    def press(directory):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("launcher.arrays.submit.require_cluster", lambda *_: None)
    monkeypatch.setattr("launcher.arrays.prepare._make_durable", press)
    monkeypatch.setattr("launcher.control.submit.submit_script", lambda *_: handed.append(1))
    command = ["submit", str(make_config()), "--array", "training.seed=1,2",
               "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]  # fmt: skip
    assert main(command) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert not handed
    assert not list((tmp_path / "runs").iterdir())
