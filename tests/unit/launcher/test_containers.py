"""Images that hold the software of the ranks (LP-050, LP-051)."""

import os
import stat

import pytest
from attempt_files import attempt_files

from launcher.planning.plan import DataFacts, make_plan
from ptycho_dist.config.load import ConfigError, read_run_config
from ptycho_dist.rundir.listing import list_runs


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_local_cluster_starts_ranks_in_the_image(make_config, launch, tmp_path, scan_file):
    """LP-050: the runtime gets mounts, image and interpreter, and becomes the rank."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said = tmp_path / "said"
    executable(folder / "apptainer", f'#!/bin/bash\nprintf "%s\\n" "$$" "$@" > {said}\nexit 3\n')
    text = (
        "requeue: {on: []}\n"
        "environment:\n"
        "  container: /images/ptycho.sif\n"
        "  container_python: /opt/env/bin/python\n"
        '  container_mounts: ["/opt/plugins:/opt/plugins:ro"]\n'
        "  container_options: [--cleanenv]\n"
    )
    path = f"{folder}:{os.environ['PATH']}"
    done = launch(
        "submit", make_config(text), "--runs-dir", tmp_path / "runs", "--cluster", "local",
        "--wait", env={"PATH": path},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (run,) = list_runs(tmp_path / "runs")
    _, *words = said.read_text().splitlines()
    assert words == [
        *("exec", "--bind", str(run.path), "--bind", str(scan_file.parent)),
        *("--bind", "/opt/plugins:/opt/plugins:ro", "--cleanenv"),
        *("/images/ptycho.sif", "/opt/env/bin/python"),
        *("-u", "-m", "ptycho_dist.rank", str(run.path)),
    ]
    (attempt,) = attempt_files(run)
    assert attempt["exit_code"] == 3


@pytest.mark.parametrize(
    ("runtime", "says"),
    [("apptainer", "apptainer is not on PATH here"), ("pyxis", "it is a plugin of srun")],
)
def test_a_runtime_that_is_not_here_is_said_before_anything_starts(
    make_config, launch, tmp_path, runtime, says
):
    """LP-051"""
    text = f"environment: {{container: /images/p.sif, container_runtime: {runtime}}}"
    done = launch(
        "submit", make_config(text), "--cluster", "local", "--runs-dir", tmp_path / "runs",
        env={"PATH": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("environment: {container: /i.sif, venv: VENV}", "environment.venv"),
        ("environment: {container_mounts: [/scratch]}", "environment.container_mounts"),
        ("environment: {container_options: [--nv]}", "environment.container_options"),
        ("resources: {gpu_type: a100}", "resources.gpu_type"),
        ("resources: {mail_user: a@example.org}", "resources.mail_user"),
        (
            'resources: {mem_per_node: 4G, sbatch_options: {mem-per-cpu: "1G"}}',
            "resources.mem_per_node",
        ),
    ],
)
@pytest.mark.effect("environment.venv")
def test_what_cannot_be_meant_together(make_config, tmp_path, text, field):
    """LP-028, LP-051"""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    config = make_config(text.replace("VENV", str(tmp_path / "venv")))
    with pytest.raises(ConfigError) as refused:
        make_plan(read_run_config(config).sound(), DataFacts(37, 64), None)
    assert [fault.path for fault in refused.value.faults] == [field]
