"""A study from its command to its directory and its jobs (specs/scaling_study.md, SC-002 to
SC-015). SLURM's commands are stand-ins; tests/slurm/test_scaling.py does it on a real cluster."""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from launcher.cli import main
from launcher.commands import which_run
from launcher.control.after import dependency_options
from launcher.control.changes import Changes
from launcher.control.clean import removals
from launcher.control.resume import resume as resume_run
from launcher.scaling.study.plan import plan_study
from launcher.scaling.study.preview import show_preview
from launcher.scaling.study.request import parse_request
from launcher.scaling.study.resume import resume_study
from launcher.scaling.study.study_json import lanes_of, read_study, study_record
from launcher.scaling.study.submit import submit_study
from launcher.status.array_status import array_status
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.config.faults import ConfigError
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.plain_data import config_digest
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.listing import as_array, list_runs
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

TEXT = """
training: {batch_size: 4, nepochs: 2}
resources: {nodes: 1, tasks_per_node: 1, time: "00:30:00"}
"""
SBATCH = """
script=${@: -1}
id=$(( $(cat "$QUEUE" 2>/dev/null | wc -l) + 1 ))
if [ "$id" = "$REFUSE" ]; then echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; fi
comment=$(sed -n 's/^#SBATCH --comment="\\(.*\\)"/\\1/p' "$script")
echo "$id|$comment|${*:1:$#-1}" >> "$QUEUE"
if [ "$id" = "$KILL" ]; then kill -KILL $(cat "$PID"); fi
if [ "$id" = "$PRESS" ]; then kill -INT $(cat "$PID"); fi
echo "Submitted batch job $id"
"""
SQUEUE = """
case "$*" in
    *%F*) cut -d'|' -f1,2 "$QUEUE" 2>/dev/null; exit 0 ;;
    *) cut -d'|' -f1 "$QUEUE" 2>/dev/null | sed 's/$/|PENDING|N\\/A|Dependency/' ;;
esac
"""
SQUEUE = '[ -z "$OVER" ] || { cat "$OVER"; exit 0; }\n' + SQUEUE
COMMANDS = {"sbatch": SBATCH, "squeue": SQUEUE, "srun": "", "sacct": "exit 1",
            "scontrol": "echo is UP"}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """What tests/unit/launcher/test_arrays.py and test_code_state.py are about takes long."""
    monkeypatch.setattr("launcher.arrays.prepare._make_durable", lambda path: None)
    monkeypatch.setattr("launcher.control.code_state.OwnCode.record", lambda code, run: None)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins on PATH; the file of their queue: id, comment, options."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("PID", str(tmp_path / "pid"))
    for name in ("REFUSE", "KILL", "PRESS", "OVER"):
        monkeypatch.setenv(name, "")
    return tmp_path / "queue"


@pytest.fixture
def planned(make_config, tmp_path):
    """`planned(nodes="1,2")`: a study of the small scan, planned."""

    def plan(text=TEXT, sets=(), cluster="slurm", **flags):
        flags = {"nodes": "1,2", "repeats": 2, "steps": 3, "warm_up": 1, **flags}
        request = parse_request(cluster=cluster, **flags)
        return plan_study(make_config(text), list(sets), request, cluster, tmp_path / "runs")

    return plan


def queued(queue):
    return [line.split("|") for line in queue.read_text().splitlines()] if queue.exists() else []


def test_every_fault_of_every_size_is_told_and_nothing_made(planned, tmp_path):
    """SC-002"""
    with pytest.raises(ConfigError) as caught:
        planned(nodes="1,3,16", mode="strong,weak", sets=["requeue.signal_lead_s=3000"])
    told = str(caught.value).splitlines()
    assert len(told) == 4
    assert "equally between 3 ranks [3 nodes × 1 task, strong]" in told[0]
    assert "equally between 16 ranks [16 nodes × 1 task, strong]" in told[1]
    assert "global batch of 64, but an epoch has only 37 samples" in told[2]
    assert "requeue.signal_lead_s: 3000" in told[3]
    assert "1 node × 1 task, strong+weak and 1 more" in told[3]
    with pytest.raises(ConfigError, match=r"training.nepochs.*found \"x\"$") as caught:
        planned(sets=["training.nepochs=x"])  # of the config itself: once
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_points_are_configs_of_their_own(planned, make_config):
    """SC-004, SC-005, SC-008: by the same loading as `--set`."""
    study = planned(nodes="1,2", mode="strong,weak", steps=40)
    base = read_run_config(make_config(TEXT)).sound().config
    assert study.study.config_sha256 == config_digest(base)
    for point, member in zip(study.study.points, study.members, strict=True):
        config, plan = member.loaded.config, member.plan
        assert plan.world.ranks == point.ranks
        assert plan.world.global_batch == point.global_batch
        assert config.execution.learning_rate == point.learning_rate
        assert plan.world.total_steps >= 41
        assert plan.measurement == MeasurementPlan("steps", 40.0, 1)
        assert plan.to_json()["measurement"]["value"] == 40.0
        assert member.loaded.origins["resources.nodes"] == "scale"
    weak = next(p for p in study.study.points if p.modes == ("weak",))
    assert weak.learning_rate == pytest.approx(1e-3 * math.sqrt(2))


def test_gpus_and_numbers_of_devices_follow_the_tasks(planned):
    """SC-004"""
    text = """
training: {batch_size: 4}
execution: {devices: 2, num_nodes: 1}
resources: {gpus_per_node: 2, tasks_per_node: 2, nodes: 1}
"""
    study = planned(text, nodes="1,2", tasks_per_node="1,2")
    for point, member in zip(study.study.points, study.members, strict=True):
        config = member.loaded.config
        assert config.resources.gpus_per_node == point.tasks_per_node
        assert config.execution.devices == point.tasks_per_node
        assert config.execution.num_nodes == point.nodes


def test_repeats_to_a_target_loss_have_seeds_of_their_own(planned):
    """SC-005, SC-006"""
    study = planned(repeats=3, steps=None, target_loss=0.5, sets=["training.seed=4294967295"])
    for point, member in zip(study.study.points, study.members, strict=True):
        assert member.loaded.config.training.seed == (2**32 - 1 + point.repeat) % 2**32
        assert member.plan.world.epochs == 2
    study = planned(repeats=2)
    assert {member.loaded.config.training.seed for member in study.members} == {0}


GOLDEN = """\
scaling study of tiny
                                 batch global learning             walltime node-
nodes tasks ranks mode        per rank  batch     rate epochs runs     each hours
    1     1     1 strong+weak        4      4    0.001      4    3 00:30:00   1.5
    2     1     2 strong             2      4    0.001      4    3 00:30:00     3
    2     1     2 weak               4      8 0.001414      7    3 00:30:00     3
measured: 30 optimizer steps after 5 of warm-up
weak scaling: learning rate × √(global batch / global batch of the config), for Adam (arXiv:2205.10287)
order: 9 runs, one after another; each repeat holds every size once, shuffled (seed 0)
cost at most: 7.5 node-hours, each run to the end of its walltime; each restart (requeue.on) adds another walltime
"""  # noqa: E501


def shown(study):
    console = Console(width=84, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    show_preview(study, console)
    return "".join(f"{line.rstrip()}\n" for line in console.export_text().splitlines())


def test_the_preview_says_what_would_run_and_what_it_can_cost(planned):
    """SC-003, SC-009"""
    study = planned(mode="strong,weak", repeats=3, steps=None, warm_up=None)
    assert shown(study) == GOLDEN
    text = shown(planned(TEXT + "requeue: {on: []}", seconds=9.5, steps=None, at_once=2))
    assert "measured: 9.5 s of steps after 1 of warm-up" in text
    assert "at most 2 at once" in text
    assert text.endswith("each run to the end of its walltime\n")


def test_costs_of_steps_are_told_only_where_all_sizes_were_measured(planned, monkeypatch):
    """SC-009"""
    from ptycho_dist.config.lead import Measured

    known = {1: Measured(3.6, 1.0), 2: Measured(1.8, 1.0)}

    def measured(root, config):
        return known.get(config.resources.nodes)

    monkeypatch.setattr("launcher.scaling.study.plan.measured_before", measured)
    # 2 repeats × (1 node × 4 steps × 3.6 s + 2 nodes × 4 steps × 1.8 s) = 0.016 h
    assert "longest one measured in earlier runs: 0.016 node-hours, without start-up" in shown(
        planned()
    )
    del known[2]
    assert "measured before" not in shown(planned())


class Terminal:
    def __init__(self, typed):
        self.typed = typed

    def isatty(self):
        return self.typed is not None

    def readline(self):
        return self.typed


@pytest.mark.parametrize(
    ("typed", "code", "jobs"), [("y\n", 0, 4), ("n\n", 0, 0), ("\n", 0, 0), ("", 0, 0),
                                (None, 2, 0)]
)  # fmt: skip
def test_it_asks_once(slurm, make_config, tmp_path, monkeypatch, capsys, typed, code, jobs):
    """SC-009: what is no yes leaves nothing behind."""
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    command = ["scale", str(make_config(TEXT)), "--nodes", "1,2", "--repeats", "2",
               "--runs-dir", str(tmp_path / "runs"), "--cluster", "slurm"]  # fmt: skip
    assert main(command) == code
    said = capsys.readouterr()
    assert len(queued(slurm)) == jobs
    assert (tmp_path / "runs").exists() == bool(jobs)
    assert ("not a terminal; add --yes" in said.err) == (typed is None)
    assert ("Submit 4 runs, at most 3 node-hours" in said.err) == (typed is not None)


def test_a_study_is_an_array_of_jobs_that_wait_for_each_other(slurm, planned, tmp_path):
    """SC-010, SC-011"""
    study = planned(nodes="1,2", tasks_per_node="1,2", mode="strong,weak")
    submitted = submit_study(study, "slurm", tmp_path / "runs")
    array = submitted.array
    assert read_study(array) == study.study
    axes, members = array.read()
    assert set(axes) == {"resources.nodes", "resources.tasks_per_node", "mode", "repeat"}
    assert len(members) == len(study.study.points) == len(queued(slurm))
    for point, member, (job_id, comment, options) in zip(
        study.study.points, members, queued(slurm), strict=True
    ):
        assert comment == f"ptycho-dist:{member.run.run_id}"
        assert options == f"--job-name={array.array_id}-0 --dependency=singleton"
        assert read_json(member.run.submission_json)["jobs"][0]["job_id"] == job_id
        script = member.run.script.read_text()
        assert f"#SBATCH --nodes={point.nodes}\n" in script
        assert f"#SBATCH --ntasks-per-node={point.tasks_per_node}\n" in script
        assert member.values == {
            "resources.nodes": point.nodes, "resources.tasks_per_node": point.tasks_per_node,
            "mode": "+".join(point.modes), "repeat": point.repeat,
        }  # fmt: skip
        assert read_json(member.run.plan_json)["measurement"] == {
            "until": "steps", "value": 3.0, "warm_up_steps": 1
        }  # fmt: skip
    status = array_status(array)
    assert {each.status.state for each in status.members} == {"pending"}
    assert len(submitted.job_ids) == submitted.members == len(members)
    (told, _) = dependency_options([array])  # `submit --after STUDY`
    assert told == f"--dependency=afterok:{':'.join(submitted.job_ids)}"


def test_several_lanes(slurm, planned, tmp_path):
    """SC-011"""
    array = submit_study(planned(repeats=3, at_once=2), "slurm", tmp_path / "runs").array
    lanes = [options.split()[0].rpartition("-")[2] for _, _, options in queued(slurm)]
    assert lanes == ["0", "1"] * 3
    assert lanes_of(array) == 2


def test_a_refusal_in_the_middle_of_the_chain(slurm, planned, tmp_path, monkeypatch):
    """SC-012, SC-014: those before it stay, `resume` submits the others alone."""
    monkeypatch.setenv("REFUSE", "3")
    with pytest.raises(
        UserError, match=r"QOSMax.*members 0-1 of tiny.* are submitted.*resume .*/runs/tiny-"
    ):
        submit_study(planned(), "slurm", tmp_path / "runs")
    array = which_run.study(tmp_path / "runs", "tiny")
    states = [each.status.state for each in array_status(array).members]
    assert states == ["pending", "pending", "prepared", "prepared"]
    monkeypatch.setenv("REFUSE", "")
    assert resume_study(array, None, Changes()).job_ids == ["3", "4"]
    comments = [comment[-3:] for _, comment, _ in queued(slurm)]
    assert comments == ["000", "001", "002", "003"]
    with pytest.raises(UserError, match="has nothing to resume"):
        resume_study(array, None, Changes())


def test_where_the_first_is_refused_nothing_is_left(slurm, planned, tmp_path, monkeypatch):
    """SC-012"""
    monkeypatch.setenv("REFUSE", "1")
    with pytest.raises(UserError, match="QOSMax"):
        submit_study(planned(), "slurm", tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def test_ctrl_c_ends_the_submitting(slurm, make_config, tmp_path, monkeypatch, capsys):
    """SC-012"""
    (tmp_path / "pid").write_text(str(os.getpid()))
    monkeypatch.setenv("PRESS", "2")
    command = ["scale", str(make_config(TEXT)), "--nodes", "1,2", "--repeats", "2", "--yes",
               "--runs-dir", str(tmp_path / "runs"), "--cluster", "slurm"]  # fmt: skip
    assert main(command) == 130
    said = capsys.readouterr()
    assert f"2 of 4 runs are not submitted; `ptycho-launch resume {tmp_path}/runs/tiny-" in said.err
    assert len(queued(slurm)) == 2


def test_a_kill_between_a_job_and_its_record(slurm, planned, tmp_path, monkeypatch):
    """SC-012, SC-014: the job is found again, and no point is submitted twice."""
    monkeypatch.setenv("KILL", "2")
    study = planned()
    child = os.fork()
    if child == 0:
        (tmp_path / "pid").write_text(str(os.getpid()))
        submit_study(study, "slurm", tmp_path / "runs")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    monkeypatch.setenv("KILL", "")
    array = which_run.study(tmp_path / "runs", "tiny")
    states = [each.status.state for each in array_status(array).members]
    assert states == ["pending", "pending", "prepared", "prepared"]
    resume_study(array, None, Changes())
    comments = [comment[-3:] for _, comment, _ in queued(slurm)]
    assert comments == ["000", "001", "002", "003"]


def test_points_that_failed_or_were_cancelled_go_on_alone(slurm, planned, tmp_path, monkeypatch):
    """SC-008, SC-011, SC-014"""
    array = submit_study(planned(), "slurm", tmp_path / "runs").array
    runs = [member.run for member in array.read()[1]]
    for job, run in enumerate(runs[:2], 1):
        begin_attempt(run, job_id=str(job), cluster="slurm", nodes=["n"])
    runs[0].result_json.write_text("{}")
    end_attempt(runs[0], 1, 0)
    end_attempt(runs[1], 1, 1)
    (tmp_path / "over").write_text("3|CANCELLED|N/A|None\n4|PENDING|N/A|Dependency\n")
    monkeypatch.setenv("OVER", str(tmp_path / "over"))
    states = [each.status.state for each in array_status(array).members]
    assert states == ["finished", "failed", "cancelled", "pending"]
    assert main(["resume", "tiny", "--runs-dir", str(tmp_path / "runs"), "--json"]) == 0
    again = queued(slurm)[4:]
    assert [comment[-3:] for _, comment, _ in again] == ["001", "002"]
    assert {options for _, _, options in again} == {
        f"--job-name={array.array_id}-0 --dependency=singleton"
    }
    for run in runs[1:3]:
        assert read_json(run.plan_json)["measurement"]["value"] == 3.0
        assert len(read_json(run.submission_json)["jobs"]) == 2
    (tmp_path / "over").write_text("5|FAILED|N/A|None\n6|PENDING|N/A|Dependency\n")
    resume_run(runs[1], None, Changes())  # by itself: behind the others all the same
    assert queued(slurm)[-1][2] == f"--job-name={array.array_id}-0 --dependency=singleton"


def test_a_study_is_removed_as_a_whole(slurm, planned, tmp_path, monkeypatch):
    """SC-010: `clean` knows what is in it."""
    array = submit_study(planned(), "slurm", tmp_path / "runs").array
    for job, member in enumerate(array.read()[1], 1):
        begin_attempt(member.run, job_id=str(job), cluster="slurm", nodes=["n"])
        member.run.result_json.write_text("{}")
        end_attempt(member.run, 1, 0)
    (found,) = removals(tmp_path / "runs", [array], states=frozenset({"finished"}), older_than_s=0)
    assert (found.kept, found.parts) == ("", (array.path,))


def test_the_local_cluster_is_one_machine(planned, tmp_path, monkeypatch):
    """SC-013, SC-014: one process for all points, and no second one beside it."""
    with pytest.raises(UserError, match="--nodes: 2, but the local cluster is a single machine"):
        planned(cluster="local")
    own, programs = str(LocalProcess.of(os.getpid())), []

    def start(job, cluster, lock):
        programs.append(job.program[2:])
        return own

    monkeypatch.setattr("launcher.control.submit.submit_script", start)
    study = planned(cluster="local", nodes="1", tasks_per_node="1,2")
    array = submit_study(study, "local", tmp_path / "runs").array
    module = "ptycho_dist.runtime.local_array"
    assert programs == [("-m", module, str(array.path), "0-3")]
    assert f"{module} {array.path} 0-3\n" in array.script(0).read_text()
    assert {each.status.state for each in array_status(array).members} == {"pending"}
    record = read_json(array.submission_json)
    record["jobs"][0]["indices"] = "0-1"
    write_json_atomic(array.submission_json, record)
    with pytest.raises(UserError, match="points would run beside each other"):
        resume_study(array, None, Changes())
    dead = str(replace(LocalProcess.of(os.getpid()), started=1))
    record["jobs"][0] |= {"job_id": dead, "indices": "0-3"}
    write_json_atomic(array.submission_json, record)
    assert resume_study(array, None, Changes()).members == 4
    assert len(programs) == 2


def test_what_is_no_study_is_not_taken_for_one(tmp_path, slurm, planned):
    """SC-015"""
    root = tmp_path / "runs"
    array = submit_study(planned(), "slurm", root).array
    for reference in ("tiny", str(array.path), None):
        assert which_run.study(root, reference) == array
    with pytest.raises(UserError, match="no such run"):
        which_run.study(root, "other")
    member = array.read()[1][0].run.run_id
    with pytest.raises(UserError, match=f"{member} is a run, not a scaling study"):
        which_run.study(root, member)
    array.study_json.unlink()
    with pytest.raises(UserError, match="an array of runs, not a scaling study"):
        which_run.study(root, "tiny")
    with pytest.raises(UserError, match="no scaling studies in"):
        which_run.study(root, None)
    with pytest.raises(UserError, match="not a scaling study"):
        read_study(array)


@pytest.fixture(scope="module")
def record(tmp_path_factory, scan_file):
    folder = tmp_path_factory.mktemp("study")
    path = folder / "run.yaml"
    path.write_text(f"name: tiny\ndata: {{train_data_file: {scan_file}}}\n{TEXT}")
    request = parse_request(nodes="1,2", mode="strong,weak")
    planned = plan_study(path, [], request, "slurm", folder)
    write_json_atomic(folder / "study.json", study_record(planned.study))
    return json.loads((folder / "study.json").read_text())


NONSENSE = st.one_of(
    st.none(), st.booleans(), st.just(math.nan), st.just(math.inf), st.just(10**400), st.just(-1),
    st.text(max_size=6), st.lists(st.integers(), max_size=2), st.just("\x1b[31m<b>"),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.floats(),
)  # fmt: skip


def places(data, path=()):
    """Every place in plain data."""
    yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in inner if isinstance(data, (dict, list)) else ():
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_study_is_told_in_one_line(record, tmp_path, data):
    """SC-015: whatever stands in whatever place, it is a study or one line."""
    damaged = json.loads(json.dumps(record))
    place = data.draw(st.sampled_from([path for path in places(damaged) if path]))
    value = data.draw(NONSENSE)
    inner = damaged
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    directory = ArrayDirectory(tmp_path)
    directory.study_json.write_text(json.dumps(damaged))
    found, said = None, "study.json"
    try:
        found = read_study(directory)
    except UserError as error:
        said = str(error)
    assert "study.json" in said
    assert "\n" not in said
    if found is not None:
        assert all(math.isfinite(point.learning_rate) for point in found.points)
        assert all(0 < point.ranks < 10**9 for point in found.points)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"base": {}}, r"base\.ranks: field required"),
        ({"samples": -3}, r"base\.samples: input should be greater than or equal to 1, found -3"),
        ({"samples": "x"}, r"base\.samples: input should be a valid integer, found 'x'"),
    ],
)
def test_a_study_says_its_work(record, tmp_path, changes, why):
    """SC-015, SC-047, SC-053: a damaged study.json is refused with the field and its value."""
    directory = ArrayDirectory(tmp_path)
    base = changes.get("base", record["base"] | changes)
    directory.study_json.write_text(json.dumps(record | {"base": base}))
    with pytest.raises(UserError, match=why):
        read_study(directory)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 10**5, '{"format": 1, "points": [{}]}'])
def test_what_is_no_object_is_told_in_one_line(tmp_path, text):
    """SC-015"""
    directory = ArrayDirectory(tmp_path)
    directory.study_json.write_text(text)
    with pytest.raises(UserError, match=r"study\.json"):
        read_study(directory)


@pytest.mark.parametrize("words", [["report", "x", "--nodes", "1"], ["compare", "a", "b", "--yes"],
                                   ["report", "x", "--set", "a=b"]])  # fmt: skip
def test_flags_of_a_new_study_are_refused_elsewhere(words, capsys):
    assert main(["scale", *words]) == 2
    assert f"{words[-2 if words[-1] != '--yes' else -1]} belongs to `scale CONFIG`" in (
        capsys.readouterr().err
    )


def test_a_run_that_measures_nothing_says_nothing_of_it(make_config):
    """SC-008"""
    from launcher.arrays.plan import plan_array

    plan = plan_array(make_config(TEXT), [], ["training.seed=1,2"]).shared
    assert "measurement" not in plan.to_json()


def test_the_command_repeats_the_study(planned, make_config):
    study = planned(mode="weak", sets=["training.seed=3"]).study
    assert study.command[:3] == ("ptycho-launch", "scale", str(make_config(TEXT)))
    assert study.command[-4:] == ("--set", "training.seed=3", "--cluster", "slurm")
    assert Path(study.command[2]).is_file()
    assert as_array(Path(study.command[2])) is None
    assert not list_runs(Path(study.command[2]).parent / "runs")
