"""Other programs are run in one place: bounded in time and size, in a known environment."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from waiting import HANG_S, wait_for

import launcher
import ptycho_dist
from launcher.control.git_state import Repository
from launcher.planning.data_facts import read_data_facts
from launcher.slurm import ask_cluster, sacct, scancel, scontrol, squeue
from ptycho_dist.attempts import bounded_command, slurm_job
from ptycho_dist.attempts.bounded_command import run_command
from ptycho_dist.attempts.processes import start_time
from ptycho_dist.errors import ClusterUnreachable, DataError

MAY_START_PROGRAMS = {
    "ptycho_dist/attempts/bounded_command.py": "the runner",
    "launcher/control/handover.py": "starts the local cluster, which outlives the command",
    "ptycho_dist/runtime/local_cluster.py": "starts the ranks, and lives with them",
    "ptycho_dist/runtime/local_array.py": "runs the members of an array, for hours",
}
STARTS = re.compile(
    r"(?:import|from) (?:subprocess|pty|multiprocessing|asyncio)\b"
    r"|\bos\.(?:system|popen|exec|spawn|posix_spawn|fork)"
)


def test_no_other_module_starts_programs():
    found = set()
    for package in (launcher, ptycho_dist):
        root = Path(package.__file__).parent
        found |= {
            str(path.relative_to(root.parent))
            for path in root.rglob("*.py")
            if STARTS.search(path.read_text("utf-8"))
        }
    assert found == set(MAY_START_PROGRAMS)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`stand_in("squeue", text)`: PATH has this shell script, and the shell's own tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name, text):
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)

    return write


ASKS = {
    "squeue": lambda: squeue.ask_states(["7"])[1],
    "sacct": lambda: sacct.ask_states(["7"])[1],
    "scontrol": lambda: scontrol.show_config(0.3).trouble,
    "scancel": lambda: _trouble(ClusterUnreachable, lambda: scancel.cancel_job("7")),
    "sinfo": lambda: ask_cluster._ask("sinfo").trouble,
    "sacctmgr": lambda: ask_cluster._show("qos").trouble,
    "sbatch": lambda: ask_cluster._ask("sbatch", "--test-only", stdin="#!/bin/sh\n").trouble,
    "git": lambda: Repository(Path.cwd()).state().note,
}


def _trouble(error, work):
    with pytest.raises(error) as raised:
        work()
    return str(raised.value)


def wait_at_most(seconds, monkeypatch):
    for module in (squeue, sacct, scancel, ask_cluster, slurm_job):
        monkeypatch.setattr(module, "TIMEOUT_S", seconds)
    monkeypatch.setattr("launcher.control.git_state.LIMIT_S", seconds)


@pytest.fixture
def impatient(monkeypatch):
    """For commands that never answer."""
    wait_at_most(0.3, monkeypatch)


@pytest.fixture
def patient(monkeypatch):
    """For commands that answer at once, on a slow machine a little later."""
    wait_at_most(HANG_S, monkeypatch)


@pytest.mark.parametrize("command", ASKS)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sleep 600 & echo $! > {pid}; wait", "did not answer within 0.3 s"),
        ("trap '' TERM INT HUP; sleep 600 & echo $! > {pid}; wait", "did not answer within"),
    ],
)
def test_each_command_is_bounded(command, text, words, stand_in, impatient, tmp_path):
    pid = tmp_path / "pid"
    stand_in(command, text.format(pid=pid))
    began = time.monotonic()
    said = ASKS[command]()
    assert time.monotonic() - began < 300, "it was waited for, as it sleeps for 600 s"
    assert said.startswith(command), said
    assert words in said
    # A slow machine ends the stand-in before it has written its number.
    if pid.exists() and (number := pid.read_text().strip()):
        wait_for(lambda: start_time(int(number)) is None, "end of what it has started")


@pytest.mark.parametrize("command", ASKS)
@pytest.mark.parametrize(
    ("text", "words"),
    [("echo 'bad luck' >&2; exit 3", ": bad luck"), ("exit 3", ": exit code 3")],
)
def test_each_command_says_what_failed(command, text, words, stand_in, patient):
    stand_in(command, text)
    said = ASKS[command]()
    assert said.startswith(command), said
    assert words in said


@pytest.mark.parametrize("command", ASKS)
def test_a_command_that_is_missing_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"{command} is not on PATH" in ASKS[command]()


@pytest.mark.parametrize("command", ASKS)
def test_each_command_gets_a_clean_environment(command, stand_in, tmp_path, monkeypatch):
    """Messages are in English, and what a person set for their own eyes does not count."""
    for name in ("SLURM_CLUSTERS", "SBATCH_PARTITION", "SINFO_FORMAT", "SQUEUE_FORMAT",
                 "SCONTROL_ALL", "SACCTMGR_X", "GIT_DIR", "MASTER_ADDR"):  # fmt: skip
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SLURM_CONF", "/site/slurm.conf")
    monkeypatch.setenv("SLURM_JWT", "token")
    monkeypatch.setenv("OWN", "kept")
    stand_in(command, f"env > {tmp_path}/env; exit 1")
    ASKS[command]()
    seen = (tmp_path / "env").read_text().splitlines()
    assert {"LC_ALL=C", "SLURM_CONF=/site/slurm.conf", "SLURM_JWT=token", "OWN=kept"} <= set(seen)
    assert not [line for line in seen if "planted" in line]


def test_the_batch_script_asks_in_the_same_way(stand_in, patient, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    stand_in("scontrol", 'echo "NodeName=a State=DOWN+DRAIN Reason=$SLURM_JOB_ID"')
    assert slurm_job.lost_nodes(["a"]) == ["a"]
    stand_in("scontrol", "echo first >&2; echo 'is pending execution' >&2; exit 1")
    assert slurm_job._tell("requeue", "7") == "scontrol requeue: first is pending execution"
    assert slurm_job.requeue("7", 0, []) is None
    stand_in("scontrol", "sleep 600")
    wait_at_most(0.3, monkeypatch)
    assert slurm_job.lost_nodes(["a"]) == []
    assert "did not answer" in slurm_job._tell("requeue", "7")


def test_what_is_printed_is_bounded(stand_in):
    stand_in("chatter", "yes word")
    assert run_command(["chatter"], HANG_S, most_bytes=10_000).trouble == (
        "chatter printed more than 10000 bytes"
    )
    stand_in("chatter", "yes word | head -c 5000000 >&2; echo done")
    answer = run_command(["chatter"], HANG_S)
    assert answer.text == "done\n"
    assert len(answer.stderr) == bounded_command.MOST_COMPLAINT_BYTES


def test_the_answer_holds_what_was_given_and_said(stand_in, tmp_path):
    stand_in("reader", "cat; pwd; echo $MORE >&2")
    text = "x" * 300_000 + "é"
    answer = run_command(
        ["reader"], HANG_S, stdin=text, folder=tmp_path, variables={"MORE": "\xff"}
    )
    assert answer.text == f"{text}{tmp_path}\n"
    assert (answer.code, answer.trouble, answer.complaint) == (0, "", "\xff\n")
    stand_in("reader", "echo partly; echo 'reader: a\x1b[31m word' >&2; kill -9 $$")
    answer = run_command(["reader"], HANG_S)
    assert (answer.text, answer.code) == ("partly\n", -signal.SIGKILL)
    assert answer.trouble == "reader: a\\x1b[31m word"
    assert not os.isatty(0) or run_command(["cat"], HANG_S).text == ""


def test_it_works_where_children_are_reaped_by_the_system(stand_in):
    stand_in("speaker", "echo word")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        answer = run_command(["speaker"], 20)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (answer.text, answer.trouble) == ("word\n", "")


def test_what_is_no_program_is_said(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    plain.chmod(0o755)
    assert run_command([str(plain)], HANG_S).trouble == f"{plain} cannot be run: Exec format error"
    missing = run_command(["true"], HANG_S, folder=tmp_path / "no").trouble
    assert missing == "true cannot be run: No such file or directory"


def test_a_reader_of_data_that_hangs_is_an_error_of_the_data(stand_in, tmp_path, monkeypatch):
    stand_in("python", "sleep 600")
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr("launcher.planning.data_facts.TIMEOUT_S", 0.3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = tmp_path / "x.npz"
    data.write_bytes(b"")
    with pytest.raises(DataError, match="could not be read: its reader did not answer within"):
        read_data_facts(data)
