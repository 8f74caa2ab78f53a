"""Real ranks: processes that meet over gloo, started as the local cluster starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fork_client
import pytest
from waiting import HANG_S

from ptycho_dist.attempts.attempt import Attempt, begin_attempt
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan

WAITING_CLOCK = Path(__file__).with_name("waiting_clock_program.py")
SMALL = """
model: {n_filters_scale: 0.125}
execution: {accelerator: auto, join_timeout_s: 300, learning_rate: 1e-3}
"""


class Ranks:
    """One attempt of a run, rank by rank."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.attempt = begin_attempt(run, job_id="test", cluster="local", nodes=["here"])
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, rank: int, attempt: Attempt | None = None, anew: bool = False, **environment: str
    ) -> None:
        """Start one rank; `attempt` and `environment` let it differ from the others.

        `anew`: by an exec, because the order of its imports matters.
        """
        start = subprocess.Popen if anew else fork_client.Popen
        self.processes.append(
            start(
                [sys.executable, "-u", "-m", "ptycho_dist.rank", str(self.run.path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(self.run.world().ranks),
                    ATTEMPT_VARIABLE: (attempt or self.attempt).to_variable(),
                    **environment,
                },
            )
        )

    def finish(self, timeout: float = HANG_S) -> list[tuple[int, str]]:
        """Wait for all; exit code and standard error of each."""
        deadline = time.monotonic() + timeout
        results = []
        for process in self.processes:
            _, errors = process.communicate(timeout=max(1, deadline - time.monotonic()))
            results.append((process.returncode, errors))
        return results

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def make_run(make_config: Callable[..., Path], tmp_path: Path) -> Callable[..., RunDirectory]:
    def make(text: str, n_patterns: int = 37) -> RunDirectory:
        loaded = read_run_config(make_config(SMALL + text)).sound()
        plan = RunPlan(world=world_of(loaded.config, n_patterns))
        return prepare_run(tmp_path / "runs" / "run", loaded, plan, None)

    return make


@pytest.fixture
def by_waiting_clock(
    make_config: Callable[..., Path], launch: Callable[..., Any], tmp_path: Path
) -> Callable[[str], tuple[RunDirectory, int]]:
    """Run a config on the local cluster, whose walltime counts from the first steps on.

    The text names no `resources.time` and no `requeue.signal_lead_s` of its own: the ranks are
    asked to stop six seconds after they have begun to train, an hour before they would be killed.
    """

    def run(text: str) -> tuple[RunDirectory, int]:
        root = tmp_path / "runs-by-clock"
        settings = ("resources.time=1:00:00", "requeue.signal_lead_s=3594")
        words = [word for each in settings for word in ("--set", each)]
        done = launch("script", make_config(text), "--runs-dir", root, *words)
        assert done.returncode == 0, done.stderr
        (path,) = root.iterdir()
        process = fork_client.Popen(
            [sys.executable, "-u", str(WAITING_CLOCK), str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            process.communicate(timeout=HANG_S)
        finally:
            process.kill()
        return RunDirectory(path), process.returncode

    return run


@pytest.fixture
def as_torchrun() -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """`as_torchrun(command, ranks, …)`: ranks with torchrun's variables, to their end."""

    def run(
        command: list[str], ranks: int, **environment: str
    ) -> list[subprocess.CompletedProcess[str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            "TORCHELASTIC_RUN_ID": "test",
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        processes = []
        for rank in range(ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
            processes.append(
                fork_client.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **shared, **own, **environment},
                )
            )
        try:
            said = [process.communicate(timeout=HANG_S) for process in processes]
        finally:
            for process in processes:
                process.kill()
        return [
            subprocess.CompletedProcess(command, process.returncode, *texts)
            for process, texts in zip(processes, said, strict=True)
        ]

    return run


@pytest.fixture
def start_ranks(request: pytest.FixtureRequest) -> Callable[[RunDirectory], Ranks]:
    def start(run: RunDirectory) -> Ranks:
        ranks = Ranks(run)
        request.addfinalizer(ranks.kill)
        return ranks

    return start
