"""Real ranks: processes that meet over gloo, started as the local cluster starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho_dist.attempts.attempt import Attempt, begin_attempt
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE
from ptycho_dist.config.load import load_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.layout import RunDirectory, prepare_run
from ptycho_dist.rundir.run_plan import RunPlan

SMALL = """
model: {n_filters_scale: 0.125}
execution: {accelerator: auto, join_timeout_s: 8, learning_rate: 1e-3}
"""


class Ranks:
    """One attempt of a run, rank by rank."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.attempt = begin_attempt(run, job_id="test", cluster="local", nodes=["here"])
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, rank: int, attempt: Attempt | None = None, **environment: str) -> None:
        """Start one rank; `attempt` and `environment` let it differ from the others."""
        self.processes.append(
            subprocess.Popen(
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

    def finish(self, timeout: float = 90) -> list[tuple[int, str]]:
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
        loaded = load_run_config(make_config(SMALL + text))
        plan = RunPlan(world=world_of(loaded.config, n_patterns))
        return prepare_run(tmp_path / "runs" / "run", loaded, plan, None)

    return make


@pytest.fixture
def start_ranks(request: pytest.FixtureRequest) -> Callable[[RunDirectory], Ranks]:
    def start(run: RunDirectory) -> Ranks:
        ranks = Ranks(run)
        request.addfinalizer(ranks.kill)
        return ranks

    return start
