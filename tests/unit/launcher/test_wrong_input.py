"""Wrong input by hand: one clear line, exit 2 or 3, nothing submitted, nothing left behind."""

import numpy as np
import pytest


@pytest.fixture
def damaged(scan_file, tmp_path):
    """Write a spoiled copy of the scan; returns its path."""

    def write(kind):
        path = tmp_path / f"{kind}.npz"
        content = scan_file.read_bytes()
        arrays = {k: v for k, v in np.load(scan_file).items() if k != "_metadata"}
        if kind == "missing":
            return path
        if kind == "text":
            path.write_text("hello")
        elif kind == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif kind == "flipped":
            spoiled = bytearray(content)
            spoiled[len(spoiled) // 2] ^= 255
            path.write_bytes(spoiled)
        else:
            if kind == "intensity":
                arrays["diff3d"] = arrays["diff3d"] ** 2
            elif kind == "corner":
                arrays["diff3d"] = np.fft.fftshift(arrays["diff3d"], axes=(1, 2))
            elif kind == "no_probe":
                del arrays["probeGuess"]
            elif kind == "pickle":
                arrays["diff3d"] = arrays["diff3d"].astype(object)
            np.savez(path, **arrays)
        return path

    return write


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such file"),
        ("text", "not an .npz file"),
        ("truncated", "truncated"),
        ("flipped", "damaged"),
        ("intensity", "holds counts, but amplitude is needed"),
        ("corner", "fftshift"),
        ("no_probe", "probeGuess is missing"),
        ("pickle", "dtype object"),
    ],
)
def test_a_bad_data_file(damaged, make_config, launch, tmp_path, kind, words):
    path = damaged(kind)
    root = tmp_path / "runs"
    for command in (["validate"], ["submit", "--cluster", "local", "--runs-dir", root]):
        done = launch(
            command[0], make_config(), *command[1:], "--set", f"data.train_data_file={path}"
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert path.name in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not root.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "resources.node=2"], 2, "did you mean resources.nodes?"),
        (["--set", "resources.nodes=2"], 2, "the local cluster is this one machine"),
        (["--set", "execution.accelerator=cuda"], 2, "resources.gpus_per_node"),
        (["--set", "x"], 2, "expected section.field=value"),
    ],
)
def test_a_bad_submission(make_config, launch, tmp_path, arguments, code, words):
    root = tmp_path / "runs"
    done = launch("submit", make_config(), "--cluster", "local", "--runs-dir", root, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not root.exists()


def test_faults_of_both_files_and_of_the_config_come_at_once(damaged, make_config, launch):
    done = launch(
        "validate", make_config(), "--set", f"data.test_data_file={damaged('text')}",
        "--set", "training.nll_weight=0",
    )  # fmt: skip
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "data.test_data_file: " in lines[0]
    assert "training.nll_weight: " in lines[1]


def test_debug_shows_the_traceback(make_config, launch):
    done = launch("validate", make_config(), "--set", "resources.node=2", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_slurm_that_is_not_installed(make_config, launch, tmp_path):
    root = tmp_path / "runs"
    done = launch(
        "submit", make_config(), "--cluster", "slurm", "--runs-dir", root, env={"PATH": "/nowhere"}
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "no SLURM here: sbatch is not on PATH" in done.stderr
    assert not root.exists()


def test_runs_that_do_not_exist(launch, tmp_path):
    for command in ("status", "logs", "cancel", "resume"):
        done = launch(command, "nothing", "--runs-dir", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no such run" in done.stderr


def test_every_command_has_help_with_an_example(launch):
    commands = ["validate", "plan", "script", "submit", "status", "list", "logs", "cancel"]
    for command in [*commands, "resume"]:
        done = launch(command, "--help")
        assert done.returncode == 0
        assert f"Example: ptycho-launch {command}" in done.stdout
