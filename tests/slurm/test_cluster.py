"""The one-host cluster of slurm/cluster does what its how-to says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import HANG_S, wait_for

SCRIPT = Path(__file__).parents[2] / "slurm" / "cluster" / "cluster.py"
SMALL = ("--nodes", "2", "--no-accounting")

pytestmark = [
    pytest.mark.slurm,
    # It starts nothing of its own where SLURM is not installed: that fixture skips first.
    pytest.mark.usefixtures("cluster"),
]

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Run the command on clusters below tmp_path; whatever a test leaves there is taken down."""
    used = set()

    def run(command: str, name: str, *args: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        used.add(name)
        return subprocess.run(
            arguments(command, tmp_path / name, *args),
            capture_output=True, text=True, timeout=HANG_S, check=False, **extra,
        )  # fmt: skip

    yield run
    for name in used:
        assert run("down", name).returncode == 0


def arguments(command: str, directory: Path, *args: str) -> list[str]:
    return [sys.executable, str(SCRIPT), command, "--dir", str(directory), *args]


def state_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "state.json").read_text())


def processes_of(directory: Path) -> list[str]:
    """Commands of the live processes whose environment or arguments name the directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(directory) + b"/" in text:
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_four_idle_nodes_with_two_gpus_each(cluster: Any) -> None:
    nodes = cluster.run(["sinfo", "-h", "-N", "-p", "debug", "-o", "%N %T %G %c"]).stdout
    assert nodes.splitlines() == [f"node{i} idle gpu:2 4" for i in range(1, 5)]
    partitions = cluster.run(["sinfo", "-h", "-o", "%P %l"]).stdout.splitlines()
    assert sorted(partitions) == ["debug* 1-00:00:00", "short 10:00"]


def test_each_task_sees_its_own_gpu(cluster: Any) -> None:
    show = 'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"'
    own = cluster.run(["srun", "-N2", "-n4", "--gpus-per-task=1", "bash", "-c", show])
    assert sorted(own.stdout.splitlines()) == ["node1 0", "node1 1", "node2 0", "node2 1"]
    both = cluster.run(["srun", "-N1", "-n2", "--gpus-per-node=2", "bash", "-c", show])
    assert both.stdout.splitlines() == ["node1 0,1"] * 2


def test_a_job_starts_at_once_and_sacct_lists_it(cluster: Any, tmp_path: Path) -> None:
    job = cluster.run(
        ["sbatch", "--parsable", "--wait", "-o", str(tmp_path / "out"), "--wrap", "echo done"],
    ).stdout.strip()
    assert (tmp_path / "out").read_text() == "done\n"
    columns = "State,Account,Submit,Start"
    query = ["sacct", "-n", "-X", "-P", "-j", job, f"--format={columns}"]
    wait_for(lambda: "COMPLETED" in cluster.run(query).stdout)
    state, account, submit, start = cluster.run(query).stdout.strip().split("|")
    assert (state, account) == ("COMPLETED", "users")
    seconds = [time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) for text in (submit, start)]
    assert seconds[1] - seconds[0] <= 15  # not by the scheduler that comes every half minute


def test_a_cancelled_job_ends_within_kill_wait(cluster: Any) -> None:
    stubborn = "trap '' TERM; sleep 300 & while :; do wait; done"
    job = cluster.run(["sbatch", "--parsable", "-o", "/dev/null", "--wrap", stubborn])
    job_id = job.stdout.strip()
    state = ["squeue", "-h", "-j", job_id, "-t", "all", "-o", "%T"]
    wait_for(lambda: cluster.run(state).stdout.strip() == "RUNNING")
    time.sleep(0.5)  # the trap must be set
    cluster.run(["scancel", job_id])
    wait_for(lambda: cluster.run(state).stdout.strip() == "CANCELLED")


def test_without_accounting_sacct_fails(cluster_without_accounting: Any) -> None:
    cluster_without_accounting.run(["srun", "-n1", "true"])
    assert cluster_without_accounting.run(["sacct"], check=False).returncode == 1


def test_up_again_is_quick_and_prints_the_same(cluster: Any) -> None:
    def seconds(command: str) -> tuple[float, str]:
        began = time.monotonic()
        done = subprocess.run(
            arguments(command, cluster.dir),
            capture_output=True, text=True, timeout=HANG_S, check=True,
        )  # fmt: skip
        return time.monotonic() - began, done.stdout

    daemons = state_of(cluster.dir)["daemons"]
    yardstick, _ = seconds("status")  # which only looks
    took, said = min(seconds("up") for _ in range(3))
    assert took < max(2, 4 * yardstick)
    assert state_of(cluster.dir)["daemons"] == daemons
    assert said == (cluster.dir / "env.sh").read_text()
    assert said == f"export SLURM_CONF={cluster.env['SLURM_CONF']}\n"


def test_up_with_other_options_is_refused(cluster: Any) -> None:
    other = subprocess.run(
        arguments("up", cluster.dir, "--nodes", "2"), capture_output=True, text=True, timeout=HANG_S
    )
    assert (other.returncode, other.stdout) == (2, "")
    assert "nodes 4 -> 2" in other.stderr


def test_two_started_at_once_share_nothing(script: Script, tmp_path: Path) -> None:
    starting = [
        subprocess.Popen(arguments("up", tmp_path / name, *SMALL), stdout=subprocess.DEVNULL)
        for name in ("a", "b")
    ]
    try:
        assert [process.wait(HANG_S) for process in starting] == [0, 0]
        one, two = (state_of(tmp_path / name)["endpoints"] for name in ("a", "b"))
        assert not set(one["node_addresses"]) & set(two["node_addresses"])
        assert not set(one["node_ports"]) & set(two["node_ports"])
        assert script("down", "a").returncode == 0
        assert "healthy" in script("status", "b").stdout
    finally:
        for name in ("a", "b"):
            assert script("down", name).returncode == 0


def test_up_replaces_a_half_dead_cluster(script: Script, tmp_path: Path) -> None:
    assert script("up", "c", *SMALL).returncode == 0
    os.kill(state_of(tmp_path / "c")["daemons"]["slurmctld"][0], signal.SIGKILL)
    again = script("up", "c", *SMALL)
    assert again.returncode == 0
    assert "slurmctld does not run" in again.stderr
    assert "healthy" in script("status", "c").stdout


@pytest.mark.parametrize("victims", [(), ("slurmd-node1",), ("slurmctld",), None])
def test_down_leaves_nothing(
    script: Script, tmp_path: Path, victims: tuple[str, ...] | None
) -> None:
    """With a job running that has cleared its environment, and daemons (None: all) killed."""
    up = script("up", "c", *SMALL)
    assert up.returncode == 0, up.stderr
    env = {**os.environ, "SLURM_CONF": str(tmp_path / "c" / "slurm.conf")}
    inside = tmp_path / "pids"
    # The step must run: an srun that finds no controller ends the job, and its child is anyone's.
    step = f"srun sh -c 'echo up >> {inside}; exec sleep 300'"
    job = f"env -i sleep 300 & echo $! > {inside}; {step}"
    command = ["sbatch", "-o", "/dev/null", "--wrap", job]
    subprocess.run(command, env=env, check=True, timeout=HANG_S)
    wait_for(lambda: inside.exists() and inside.read_text().endswith("up\n"))
    bystander = subprocess.Popen(["sleep", "600"], env=env)
    try:
        daemons = state_of(tmp_path / "c")["daemons"]
        for name in daemons if victims is None else victims:
            os.kill(daemons[name][0], signal.SIGKILL)
        assert script("down", "c").returncode == 0
        # A program that was merely started from a shell with SLURM_CONF is the user's own.
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert processes_of(tmp_path / "c") == []
    stat = Path("/proc", inside.read_text().split()[0], "stat")
    assert not stat.exists() or " Z " in stat.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pids"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_up_leaves_nothing(script: Script, tmp_path: Path, number: int) -> None:
    starting = subprocess.Popen(arguments("up", tmp_path / "c"), stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "c" / "log" / "mariadbd.log").exists())
    starting.send_signal(number)
    expected = -9 if number == signal.SIGKILL else 128 + number
    assert starting.wait(HANG_S) == expected
    if number == signal.SIGKILL:
        assert script("down", "c").returncode == 0
    assert processes_of(tmp_path / "c") == []
    assert list(tmp_path.iterdir()) == []


def test_down_refuses_what_is_not_a_cluster(script: Script, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.tex").touch()
    assert script("down", "c").returncode == 0
    assert script("up", "c", *SMALL).returncode == 2
    assert (tmp_path / "c" / "thesis.tex").exists()


def test_a_failed_start_says_why_and_leaves_nothing(script: Script, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "slurmctld").write_text("#!/bin/sh\necho fatal: no such luck\nexit 1\n")
    (fake / "slurmctld").chmod(0o755)
    failed = script("up", "c", *SMALL, env={**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"})
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "fatal: no such luck" in failed.stderr
    assert processes_of(tmp_path / "c") == []
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_missing_packages_are_named(script: Script, tmp_path: Path) -> None:
    missing = script("up", "c", *SMALL, env={**os.environ, "PATH": str(tmp_path)})
    assert missing.returncode == 3
    assert "slurm-wlm" in missing.stderr


def test_no_file_of_the_host_changes(script: Script) -> None:
    def digest() -> str:
        files = [Path("/etc/hosts")]
        for folder in ("/etc/slurm", "/etc/munge", "/etc/mysql", "/var/lib/munge", "/run/munge"):
            files += sorted(path for path in Path(folder).rglob("*") if path.is_file())
        seen = hashlib.sha256()
        for path in files:
            seen.update(os.fsencode(path))
            if os.access(path, os.R_OK):
                seen.update(path.read_bytes())
        return seen.hexdigest()

    before = digest()
    assert script("up", "c", "--nodes", "1").returncode == 0
    assert script("down", "c").returncode == 0
    assert digest() == before
