"""`environment.snapshot: true`: the run keeps the code that it was submitted with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attempt_files import attempt_files
from waiting import HANG_S

import ptycho_dist
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.errors import RunError
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.frozen import START, code_digest, damage_of_code, require_frozen_code
from ptycho_dist.rundir.layout import RunDirectory

PROJECT = Path(ptycho_dist.__file__).parents[1]
TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 1, batch_size: 8}
"""
FROZEN = "environment: {snapshot: true}\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the project, which is the working directory and the PYTHONPATH of all commands:
    both come before what is installed, and the former before the latter."""
    root = tmp_path / "checkout"
    for name in ("launcher", "ptycho_dist"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", str(root))
    return root


@pytest.fixture
def prepared(make_config, launch, tmp_path):
    def prepare(text):
        root = tmp_path / f"runs-{len(list(tmp_path.glob('runs-*')))}"
        done = launch("script", make_config(TEXT + text), "--runs-dir", root)
        assert done.returncode == 0, done.stderr
        (path,) = root.iterdir()
        return RunDirectory(path)

    return prepare


def break_the(checkout):
    """An edit after the submission: whatever imports it fails."""
    (checkout / "ptycho_dist/__init__.py").write_text("raise SystemExit('edited')\n")


def local_cluster(run, *start):
    return subprocess.run(
        [sys.executable, *start, "ptycho_dist.runtime.local_cluster", str(run.path)],
        capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip


@pytest.mark.effect("environment.snapshot")
def test_an_edit_after_the_submission_does_not_reach_the_run(checkout, prepared, tmp_path):
    """RD-255 to RD-257: the ranks, and what the batch script calls before and after them."""
    run, other = prepared(FROZEN), prepared("")
    break_the(checkout)
    done = local_cluster(run, str(run.code))
    logs = "".join(path.read_text() for path in run.logs.iterdir())
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert json.loads(run.result_json.read_text())["attempt"] == 1
    assert attempt_files(run)[0]["outcome"] == "finished"
    assert not [path for path in run.code.rglob("*.py") if path.stat().st_mode & 0o222]

    # The same edit, seen to break a run that is not frozen.
    assert other.code.exists() is False
    assert "edited" in local_cluster(other, "-m").stderr

    # The script of another attempt, to which srun says how it would start the ranks.
    run.result_json.unlink()
    srun = tmp_path / "tools/srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/started\nexit 1\n')
    srun.chmod(0o755)
    path = f"{srun.parent}:{os.environ['PATH']}"
    script = subprocess.run(
        ["bash", run.script], capture_output=True, text=True, env={**os.environ, "PATH": path},
        timeout=HANG_S,
    )  # fmt: skip
    assert [record["outcome"] for record in attempt_files(run)] == ["finished", "failed"], script
    started = (tmp_path / "started").read_text().splitlines()
    assert started[-5:] == [
        sys.executable,
        "-u",
        str(run.code),
        "ptycho_dist.rank",
        str(run.path),
    ]


def test_a_rank_that_runs_other_code_ends_with_one_line(make_run, start_ranks):
    """RD-257: torchrun and srun by hand start what is installed."""
    run = make_run("")
    plan = read_json(run.plan_json)
    run.plan_json.write_text(json.dumps({**plan, "code": {"sha256": "0" * 64}}))
    run.code.mkdir()
    ranks = start_ranks(run)
    ranks.start(0)
    ((code, errors),) = ranks.finish()
    assert code == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert f"this rank runs {PROJECT}/ptycho_dist, not the frozen code of the run" in line
    assert f"start it by `python {run.code} ptycho_dist.rank {run.path}`" in line
    assert "Traceback" not in errors


@pytest.fixture
def frozen(make_run, monkeypatch):
    """A run with a copy of very little code, from which this process seems to be run."""
    run = make_run("")
    files = {START: b"pass", "ptycho_dist/__init__.py": b"a = 1", "ptycho_dist/data.json": b"{}"}
    for name, content in files.items():
        path = run.code / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    plan = {**read_json(run.plan_json), "code": {"sha256": code_digest(files)}}
    run.plan_json.write_text(json.dumps(plan))
    monkeypatch.setattr(ptycho_dist, "__file__", str(run.code / "ptycho_dist/__init__.py"))
    return run


def edit(run):
    (run.code / "ptycho_dist/__init__.py").write_bytes(b"a = 2")


def add(run):
    (run.code / "torch.py").write_bytes(b"a = 2")


def remove(run):
    (run.code / "ptycho_dist/data.json").unlink()


@pytest.mark.parametrize("change", [edit, add, remove])
def test_a_copy_that_was_changed_is_refused(frozen, change):
    """RD-257; what Python leaves beside the sources does not count."""
    (frozen.code / "ptycho_dist/__pycache__").mkdir()
    (frozen.code / "ptycho_dist/__pycache__/x.pyc").write_bytes(b"x")
    require_frozen_code(frozen)
    change(frozen)
    with pytest.raises(RunError, match=r"changed after it was copied .* --set environment.snapsh"):
        require_frozen_code(frozen)


def test_what_is_frozen_on_resume(checkout, prepared, launch):
    """RD-258, RD-254: kept, refused where it was changed, given up, frozen anew."""
    run = prepared('environment: {snapshot: true, setup: ["exit 3"]}\n')  # no rank starts
    begin_attempt(run, job_id="here:1:1", cluster="local", nodes=["n"])
    end_attempt(run, 1, 1)

    def resume(*settings):
        words = [word for text in settings for word in ("--set", text)]
        done = launch("resume", run.path, "--cluster", "local", "--wait", *words)
        return done.returncode, done.stderr

    def digest():
        return read_json(run.plan_json).get("code", {}).get("sha256")

    first = digest()
    (checkout / "ptycho_dist/new.py").write_text("x = 1\n")
    assert resume()[0] == 1
    assert digest() == first
    assert damage_of_code(run, first) is None

    spoilt = run.code / "ptycho_dist/__init__.py"
    spoilt.unlink()
    code, errors = resume()
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "changed after it was copied" in errors

    assert resume("environment.snapshot=false")[0] == 1
    assert digest() is None
    assert '"$python" -u -m ptycho_dist.rank' in run.script.read_text()

    assert resume("environment.snapshot=true")[0] == 1
    assert digest() not in (None, first)
    assert damage_of_code(run, digest()) is None
    assert (run.code / "ptycho_dist/new.py").exists()
    assert '"$python" -u "$run_dir/code" ptycho_dist.rank' in run.script.read_text()
    states = read_json(run.code_json)["states"]
    assert [state["sha256"] == first for state in states] == [True, False, False, False]
    assert len(attempt_files(run)) == 4
    assert [path for path in run.path.iterdir() if path.name.startswith(".code")] == []
