"""The code that a run was submitted with: code.json and code.diff (RD-250 to RD-254)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import HANG_S, wait_for

from launcher.control import code_state, git_state
from launcher.control.git_state import Repository, without_secrets
from ptycho_dist.attempts.processes import start_time
from ptycho_dist.rundir.frozen import code_digest, code_files
from ptycho_dist.rundir.layout import RunDirectory

PROJECT = Path(code_state.__file__).parents[2]


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with two minimal packages, from which this process seems to run."""
    root = tmp_path / "checkout"
    for name in ("launcher", "ptycho_dist"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text("VALUE = 1\n")
    git(tmp_path, "init", "-q", "-b", "work", str(root))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    folders = {name: root / name for name in ("launcher", "ptycho_dist")}
    monkeypatch.setattr(code_state, "package_folders", lambda: folders)
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


def recorded(run):
    code_state.OwnCode().record(run)
    return json.loads(run.code_json.read_text())["states"]


def test_a_clean_checkout(checkout, run):
    (state,) = recorded(run)
    found = state["checkouts"][str(checkout)]
    assert found["commit"] == git(checkout, "rev-parse", "HEAD")
    assert (found["branch"], found["dirty"], found["changed"]) == ("work", False, [])
    assert state["diff"] is None
    assert state["working_directory"] == {"path": str(Path.cwd()), "checkout": None}
    assert [path.name for path in run.path.iterdir()] == ["code.json"]


def test_what_is_not_committed_is_kept_as_a_diff_that_applies(checkout, run, tmp_path):
    """RD-250, RD-251: also bytes that are no text; of untracked files only the names."""
    changed = checkout / "launcher/__init__.py"
    changed.write_text("VALUE = 2\n")
    (checkout / "launcher/data.bin").write_bytes(bytes(range(256)))
    git(checkout, "add", "launcher/data.bin")
    (checkout / "launcher/mine.env").write_text("TOKEN=planted\n")
    (state,) = recorded(run)
    found = state["checkouts"][str(checkout)]
    assert found["dirty"]
    assert sorted(found["changed"]) == ["launcher/__init__.py", "launcher/data.bin"]
    assert found["untracked"] == ["launcher/mine.env"]
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(checkout), str(other))
    git(other, "apply", str(run.path / state["diff"]))
    for name in ("launcher/__init__.py", "launcher/data.bin"):
        assert (other / name).read_bytes() == (checkout / name).read_bytes()
    assert b"planted" not in b"".join(path.read_bytes() for path in run.path.iterdir())


def test_each_submission_adds_its_state_and_a_new_diff_only_where_it_is_another(checkout, run):
    """RD-254"""
    changed = checkout / "ptycho_dist/__init__.py"
    for text in ("VALUE = 2\n", "VALUE = 2\n", "VALUE = 3\n"):
        changed.write_text(text)
        states = recorded(run)
    assert [state["diff"] for state in states] == ["code.diff", "code.diff", "code-3.diff"]
    assert states[0]["sha256"] == states[1]["sha256"] != states[2]["sha256"]
    run.code_json.write_text("[" * 100_000)
    assert len(recorded(run)) == 1


def test_a_large_diff_is_not_kept_and_said_so(checkout, run, monkeypatch):
    """RD-251"""
    monkeypatch.setattr(git_state, "MAX_DIFF_BYTES", 1000)
    (checkout / "launcher/__init__.py").write_text("x = 1\n" * 1000)
    (state,) = recorded(run)
    assert state["diff"] is None
    assert "more than 1000 bytes" in state["checkouts"][str(checkout)]["note"]


def test_nothing_that_the_repository_names_is_run(checkout, run, tmp_path):
    """RD-252: no filter, monitor, external diff, textconv or pager is run."""
    for section, key in [
        ("filter.evil", "clean"), ("filter.evil", "process"), ("diff.evil", "command"),
        ("diff.evil", "textconv"), ("core", "fsmonitor"), ("core", "pager"),
    ]:  # fmt: skip
        git(checkout, "config", f"{section}.{key}", f"touch {tmp_path}/ran-{key}; cat")
    git(checkout, "config", "filter.evil.required", "true")
    (checkout / ".git/info/attributes").write_text("* filter=evil diff=evil\n")
    (checkout / "launcher/__init__.py").write_text("VALUE = 2\n")
    (state,) = recorded(run)
    assert b"+VALUE = 2" in (run.path / state["diff"]).read_bytes()
    assert list(tmp_path.glob("ran-*")) == []


def test_variables_of_git_do_not_lead_to_another_repository(checkout, run, monkeypatch):
    """RD-252"""
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/nonexistent")
    (checkout / "launcher/__init__.py").write_text("VALUE = 2\n")
    (state,) = recorded(run)
    assert state["checkouts"][str(checkout)]["commit"]
    assert state["diff"] == "code.diff"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "git is not on PATH"),
        ("sleep 60 & echo $! > {pid}; wait", "did not answer within 0.5 s"),
        ("yes x", "more than 4000000 bytes"),
        ('echo "fatal: detected dubious ownership" >&2; exit 128', "dubious ownership"),
    ],
)
def test_git_that_is_missing_slow_or_refuses_costs_a_note(
    checkout, monkeypatch, tmp_path, script, words
):
    """RD-252: git is bounded in time and size, and nothing that it started stays alive."""
    tools = tmp_path / "tools"
    tools.mkdir()
    pid = tmp_path / "pid"
    monkeypatch.setattr(git_state, "LIMIT_S", 0.5 if "sleep" in (script or "") else HANG_S)
    if script is not None:
        (tools / "git").write_text(f"#!/bin/bash\n{script.format(pid=pid)}\n")
        (tools / "git").chmod(0o755)
    keep = os.environ["PATH"] if script is not None else ""
    monkeypatch.setenv("PATH", f"{tools}:{keep}")
    state = Repository(checkout).state()
    assert (state.commit, state.dirty) == (None, None)
    assert words in state.note
    if pid.exists() and (number := pid.read_text().strip()):
        wait_for(lambda: start_time(int(number)) is None, "end of what git has started")


def test_remotes_lose_their_credentials(checkout, run):
    """RD-253"""
    git(checkout, "remote", "add", "origin", "https://me:hunter2@host.example/a.git?token=hunter2")
    git(checkout, "remote", "add", "ssh", "git@host.example:group/a.git")
    (state,) = recorded(run)
    assert state["checkouts"][str(checkout)]["remotes"] == {
        "origin": "https://host.example/a.git",
        "ssh": "git@host.example:group/a.git",
    }
    assert "hunter2" not in run.code_json.read_text()
    assert without_secrets("https://a@b@host/x") == "https://host/x"


def test_submit_records_the_code_that_runs(make_config, launch, tmp_path, monkeypatch):
    """RD-250: packages outside of a checkout, here a plain copy, are identified by their digest."""
    copy = tmp_path / "copy"
    for name in ("launcher", "ptycho_dist"):
        shutil.copytree(PROJECT / name, copy / name)
    monkeypatch.chdir(tmp_path)
    done = launch(
        "script", make_config(), "--runs-dir", tmp_path / "runs", env={"PYTHONPATH": str(copy)}
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs").iterdir()
    (state,) = json.loads((path / "code.json").read_text())["states"]
    assert state["packages"] == {n: str(copy / n) for n in ("launcher", "ptycho_dist")}
    assert (state["checkouts"], state["diff"]) == ({}, None)
    assert state["sha256"] == code_digest(code_files({n: PROJECT / n for n in state["packages"]}))
    assert state["installed"]["holds_the_packages"] is False
