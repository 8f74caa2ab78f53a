"""Real one-host SLURM clusters for the tests that need one."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fork_client
import pytest
from waiting import HANG_S

from ptycho_dist.rundir.layout import RunDirectory

SCRIPT = Path(__file__).parents[2] / "slurm" / "cluster" / "cluster.py"
PACKAGES_MISSING = 3


class Cluster:
    """A running cluster."""

    def __init__(self, directory: Path, exports: str) -> None:
        self.dir = directory
        self.env = dict(
            word.split("=", 1)
            for line in exports.splitlines()
            for word in shlex.split(line.removeprefix("export "))
        )

    def run(
        self, args: Sequence[str], timeout: float = HANG_S, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one command on the cluster; with `check`, a failure fails the test and says why."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_"))}
        done = subprocess.run(
            list(args), env={**clean, **self.env}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            pytest.fail(f"{shlex.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done


def _running(directory: Path, *options: str) -> Iterator[Cluster]:
    def script(command: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), command, "--dir", str(directory), *args],
            capture_output=True, text=True, timeout=HANG_S, check=False,
        )  # fmt: skip

    try:
        up = script("up", "--limit-s", "240", *options)
        if up.returncode == PACKAGES_MISSING:
            if os.environ.get("CI") or os.environ.get("PTYCHO_DIST_REQUIRE_SLURM") == "1":
                pytest.fail(up.stderr)
            pytest.skip(up.stderr.strip())
        if up.returncode != 0:
            pytest.fail(f"the cluster did not start:\n{up.stderr}")
        yield Cluster(directory, up.stdout)
    finally:
        down = script("down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes with two fake GPUs each, and accounting."""
    yield from _running(tmp_path_factory.mktemp("cluster") / "c")


@pytest.fixture(scope="session")
def cluster_without_accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The same, as on a site that runs no slurmdbd."""
    yield from _running(tmp_path_factory.mktemp("cluster") / "c", "--no-accounting")


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes for one test, which may break them."""
    yield from _running(tmp_path_factory.mktemp("cluster") / "c", "--no-accounting", "--nodes", "2")


@pytest.fixture(scope="session")
def forking_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the fork server run what it can."""
    venv = fork_client.virtual_environment(tmp_path_factory.mktemp("forking") / "venv")
    return venv / "bin" / "python"


@pytest.fixture(scope="session")
def forked_ranks(forking_python: Path) -> str:
    """A line of run.yaml: the ranks of the job are forks of a preloaded Python.

    For tests of what a job does once its ranks live. Those of its start do without.
    """
    return f"environment: {{venv: {forking_python.parents[1]}}}\n"


@pytest.fixture
def changed_script(tmp_path: Path) -> Callable[..., Path]:
    """`changed_script(run, rank=…, instead=…)`: its script, with one rank that first does that."""

    def change(run: RunDirectory, *, rank: int, instead: str) -> Path:
        text = run.script.read_text()
        started = '"$python" -u -m ptycho_dist.rank "$run_dir"'
        assert text.count(started) == 1
        inner = f'if [ "$SLURM_PROCID" = {rank} ]; then {instead}; fi; exec "$@"'
        path = tmp_path / "changed.sbatch"
        path.write_text(text.replace(started, f"bash -c '{inner}' rank {started}"))
        return path

    return change
