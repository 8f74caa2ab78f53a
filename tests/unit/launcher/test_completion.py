"""Completion, by a bash that has loaded it."""

import subprocess
from pathlib import Path

import pytest
from waiting import HANG_S

from launcher.cli import COMMANDS, build_parser
from launcher.commands.completion import completion_script


@pytest.fixture
def completed(tmp_path):
    """`completed(*words)`: what bash offers for the last of these words."""
    (tmp_path / "load").write_text(completion_script(build_parser(), "bash"))
    for name in (
        "fly64-20260714-101500-3f9a",
        "fly64-20260715-101500-aaaa",
        "other",
        ".hidden",
        "a; b",
    ):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "run.yaml").touch()
    (tmp_path / "a folder").mkdir()
    # the function that `complete -p` names is called as readline calls it
    asks = (
        "source ./load; named=$(complete -p ptycho-launch); named=${named#*-F }; "
        'COMP_WORDS=(ptycho-launch "$@"); COMP_CWORD=$#; '
        '${named%% *} ptycho-launch "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; '
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )

    def ask(*words, **variables):
        done = subprocess.run(
            ["bash", "--norc", "-c", asks, "bash", *words],
            cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **variables},
            capture_output=True, text=True, timeout=HANG_S, check=True,
        )  # fmt: skip
        return sorted(done.stdout.split("\n")[:-1])

    return ask


def test_commands_and_flags(completed):
    """RC-126"""
    assert set(COMMANDS) <= set(completed(""))
    assert completed("ver") == ["verify"]
    assert "--runs-dir" in completed("status", "--")
    assert completed("submit", "--cluster", "") == ["local", "slurm"]


def test_files_for_a_config_and_runs_for_a_run(completed):
    """RC-126"""
    assert {"run.yaml", "runs"} <= set(completed("submit", ""))
    runs = ["fly64-20260714-101500-3f9a", "fly64-20260715-101500-aaaa"]
    assert completed("status", "") == [*runs, "other"]
    assert completed("logs", "fly") == runs
    assert completed("resume", "fly64-20260714") == runs[:1]
    assert "a folder" in completed("list", "--runs-dir", "a")


def test_runs_of_another_directory(completed, tmp_path):
    """RC-126: that of $PTYCHO_DIST_RUNS_DIR, also where its name could be a command."""
    elsewhere = tmp_path / "$(touch injected); x"
    (elsewhere / "mine-1").mkdir(parents=True)
    assert completed("cancel", "", PTYCHO_DIST_RUNS_DIR=str(elsewhere)) == ["mine-1"]
    assert completed("cancel", "", PTYCHO_DIST_RUNS_DIR="/nowhere") == [""]
    assert not list(tmp_path.rglob("injected"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_command_prints_it(launch, shell):
    done = launch("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ptycho-launch" in done.stdout
    assert str(Path.home()) not in done.stdout
