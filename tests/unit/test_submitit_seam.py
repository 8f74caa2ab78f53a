"""The seam through which submitit submits our script; pinned to its version."""

import inspect
import stat
from dataclasses import fields
from importlib.metadata import version

import pytest
import submitit

from launcher.control.handover import (
    Handover,
    LocalScriptExecutor,
    SlurmScriptExecutor,
    UncertainSubmission,
    submit_script,
)
from ptycho_dist.config.world import World
from ptycho_dist.errors import ClusterUnreachable, UserError
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan


def test_the_version_that_the_seam_was_read_in():
    assert version("submitit") == "1.5.4"


def test_submitit_still_calls_what_we_override():
    source = inspect.getsource(submitit.SlurmExecutor._submit_command)
    for part in ("_make_submission_file_text(", "_make_submission_command(", "_num_tasks("):
        assert part in source
    for name in ("_make_submission_file_text", "_make_submission_command"):
        ours = inspect.signature(getattr(SlurmScriptExecutor, name))
        theirs = inspect.signature(getattr(submitit.SlurmExecutor, name))
        assert list(ours.parameters) == list(theirs.parameters)
    assert list(inspect.signature(LocalScriptExecutor._submit_command).parameters) == list(
        inspect.signature(submitit.LocalExecutor._submit_command).parameters
    )


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.script.write_text("#!/bin/bash\n# ours\n")
    run.write_plan(RunPlan(world=World(**{field.name: 1 for field in fields(World)})))
    return run


def fake_command(tmp_path, monkeypatch, name, text):
    """A stand-in where the test is about what submitit hands over, not about SLURM."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_sbatch_gets_our_text_in_a_clean_environment(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    fake_command(tmp_path, monkeypatch, "srun", "exit 0")
    fake_command(
        tmp_path,
        monkeypatch,
        "sbatch",
        f'cat "$1" > {out}; env > {out}.env; echo "Submitted batch job 42"',
    )
    monkeypatch.setenv("SLURM_CPU_BIND", "quiet")
    monkeypatch.setenv("SLURM_CONF", "/some/slurm.conf")
    assert submit_script(Handover.of_run(run), "slurm") == "42"
    assert out.read_text() == run.script.read_text()
    seen = (tmp_path / "out.env").read_text()
    assert "SLURM_CPU_BIND" not in seen
    assert "SLURM_CONF=/some/slurm.conf" in seen
    assert not list(run.path.rglob("*.pkl"))


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            UserError,
            "sbatch refuses the job: invalid partition specified: nope; Batch job",
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(connect failure)",
            ClusterUnreachable,
            "Unable to contact",
        ),
    ],
)
def test_a_refusal_is_one_line(run, tmp_path, monkeypatch, message, kind, words):
    fake_command(tmp_path, monkeypatch, "srun", "exit 0")
    fake_command(tmp_path, monkeypatch, "sbatch", f"echo '{message}' >&2; exit 1")
    with pytest.raises(UserError) as caught:
        submit_script(Handover.of_run(run), "slurm")
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["kill -KILL $$", "echo accepted, says the site; exit 0"])
def test_an_answer_that_was_lost_is_no_refusal(run, tmp_path, monkeypatch, end):
    """LP-222"""
    fake_command(tmp_path, monkeypatch, "srun", "exit 0")
    fake_command(tmp_path, monkeypatch, "sbatch", end)
    with pytest.raises(UncertainSubmission):
        submit_script(Handover.of_run(run), "slurm")
