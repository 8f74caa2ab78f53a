"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fork_client
import pytest
from hypothesis import HealthCheck, settings
from waiting import HANG_S

pytest_plugins = ["distribution"]

# The threads of OpenMP wait for each other in busy loops: with two test processes on two cores a
# tiny training took ten times as long with two threads as with one. torch reads this when loaded.
os.environ["OMP_NUM_THREADS"] = "1"

# A suite that was started in the background, or by nohup, inherits these signals as ignored. The
# processes of the tests would inherit that, too, and wait for ever after a Ctrl-C of a test.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

REPOSITORY = Path(__file__).resolve().parent.parent

# A busy machine must not fail a property test, so Hypothesis's limits on time are off. Fixtures per
# function are allowed: the tests that use one reset it themselves for each example.
settings.register_profile(
    "any-machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def _private_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, profiles, runs, or another job's variables."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg_config"))
    monkeypatch.delenv("NERSC_HOST", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # ours, not for what a test starts
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "PTYCHO_DIST_ATTEMPT", "PTYCHO_DIST_RUNS")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated scan: 37 patterns of 64 × 64 pixels."""
    return simulate_scan(tmp_path_factory.mktemp("scan") / "train.npz", n_patterns=37)


def simulate_scan(path: Path, *, n_patterns: int, seed: int = 0) -> Path:
    """Write a simulated scan file, without its truth."""
    from ptycho_dist.data.formats import write_scan
    from ptycho_dist.data.simulate import SimulationSpec, simulate

    scan, _ = simulate(SimulationSpec(n_patterns=n_patterns, seed=seed, n_photons=1e5))
    write_scan(path, scan, {})
    return path


@pytest.fixture
def make_config(tmp_path: Path, scan_file: Path) -> Callable[..., Path]:
    """Write a run.yaml for the small scan; keyword arguments are text of further sections.

    Unless the text says otherwise nothing is reconstructed at the end, which takes seconds.
    """

    def write(text: str = "", name: str = "tiny") -> Path:
        path = tmp_path / "run.yaml"
        if "reconstruct:" not in text:
            text = f"reconstruct: false\n{text}"
        path.write_text(f"name: {name}\ndata: {{train_data_file: {scan_file}}}\n{text}")
        return path

    return write


@pytest.fixture
def weights_of() -> Callable[..., str]:
    """`weights_of(run)`: SHA-256 of the weights of its newest checkpoint, bit for bit."""
    import torch

    from ptycho_dist.checkpoint.catalog import newest_whole

    def digest_of(run: Any) -> str:
        checkpoint, _ = newest_whole(run)
        state = torch.load(checkpoint.state, weights_only=True)["state_dict"]
        digest = hashlib.sha256()
        for name, tensor in sorted(state.items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    return digest_of


@pytest.fixture
def simulate() -> Callable[..., Path]:
    """`simulate(path, n_patterns=..., seed=...)` writes a scan file."""
    return simulate_scan


@pytest.fixture
def launch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`launch("submit", config, ...)`: ptycho-launch as a person runs it, in its own process.

    The process, and those that it starts, are forks of a preloaded Python (tests/preloaded).
    """

    def run(
        *arguments: object, env: dict[str, str] | None = None, timeout: float = HANG_S
    ) -> subprocess.CompletedProcess[str]:
        return fork_client.run(
            [sys.executable, "-m", "launcher", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )

    return run


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> Iterator[None]:
    """The preloaded Python of this session ends with it."""
    yield
    fork_client.close_server()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--signal-trials",
        type=int,
        default=1,
        help="signals per kind in tests/slurm/test_signals.py (a campaign: 20)",
    )
