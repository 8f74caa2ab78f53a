"""The sbatch text, held by golden files (specs/launch_plan.md LP-040 to LP-047, LP-225, G9).

`PTYCHO_DIST_REWRITE_GOLDEN=1 pytest tests/unit/launcher/test_render.py` writes them anew.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import HANG_S

from launcher.planning.plan import DataFacts, make_plan
from launcher.planning.script import render
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.plain_data import decode_run_config
from ptycho_dist.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
RUN = PurePosixPath("/scratch/beam line/runs/fly64-20260714-101500-3f9a")

CASES = {
    "one_rank": {},
    "two_nodes": {"resources": {"nodes": 2, "tasks_per_node": 2, "cpus_per_task": 4}},
    "gpus_and_site": {
        "resources": {
            "nodes": 4,
            "gpus_per_node": 4,
            "cpus_per_task": 8,
            "mem_per_node": "200G",
            "time": "1-02:00:00",
            "partition": "gpu,debug",
            "account": "m1234_g",
            "qos": "premium",
            "constraint": "gpu&hbm80g",
            "gpu_type": "a100",
            "exclusive": True,
            "reservation": "beamtime_7",
            "mail_type": ["END", "FAIL", "TIME_LIMIT_80"],
            "mail_user": "someone@example.org",
            "sbatch_options": {"licenses": "scratch:1", "contiguous": "", "exclude": "node[1-2]"},
        },
        "execution": {"accelerator": "auto", "devices": "auto", "num_nodes": "auto"},
        "requeue": {"signal_lead_s": 180},
        "environment": {
            "modules": ["python/3.11", "cudatoolkit"],
            "env": {"NCCL_SOCKET_IFNAME": "hsn", "TRICKY": "$(touch x) 'quoted' \"twice\"; rm"},
            "setup": ["ulimit -n 65536", "source /opt/site/activate"],
        },
    },
}

CASES["apptainer"] = {
    "resources": {"gpus_per_node": 4},
    "execution": {"accelerator": "auto", "devices": "auto", "num_nodes": "auto"},
    "environment": {
        "container": "/images/ptycho-dist.sif",
        "container_mounts": ["/scratch", "/opt/plugins:/opt/plugins:ro"],
        "container_python": "/opt/env/bin/python",
    },
}
CASES["pyxis"] = {
    "resources": {"nodes": 2, "gpus_per_node": 4},
    "execution": {"accelerator": "auto", "devices": "auto", "num_nodes": "auto"},
    "environment": {
        "container": "nvcr.io#nvidia/pytorch:24.05-py3",
        "container_runtime": "pyxis",
        "container_mounts": ["/scratch"],
        "container_options": ["--no-container-mount-home"],
    },
}


def plan_of(sections):
    world = {"execution": {"devices": "auto", "num_nodes": "auto"}}  # as the front ends fill in
    data = {"name": "fly64", "data": {"train_data_file": "/data/scans/x.npz"}, **world, **sections}
    loaded = LoadedConfig(decode_run_config(data, "test"), "", "test", {})
    plan = make_plan(loaded, DataFacts(2048, 64), None)
    object.__setattr__(plan, "python", PurePosixPath("/opt/env/bin/python"))
    return plan


@pytest.mark.effect(
    "resources.nodes",
    "resources.tasks_per_node",
    "resources.gpus_per_node",
    "resources.cpus_per_task",
    "resources.mem_per_node",
    "resources.time",
    "resources.partition",
    "resources.account",
    "resources.qos",
    "resources.constraint",
    "resources.gpu_type",
    "resources.exclusive",
    "resources.reservation",
    "resources.mail_type",
    "resources.mail_user",
    "resources.sbatch_options",
    "environment.modules",
    "environment.env",
    "environment.setup",
    "environment.container",
    "environment.container_runtime",
    "environment.container_mounts",
    "environment.container_options",
    "environment.container_python",
)
@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    text = render(plan_of(CASES[name]), RUN)
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get("PTYCHO_DIST_REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_bash_accepts_it(name):
    text = render(plan_of(CASES[name]), RUN)
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@given(value=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))))
def test_no_value_of_a_variable_reaches_the_shell(value):
    """RC-030"""
    text = render(plan_of({"environment": {"env": {"VALUE": value}}}), RUN)
    (line,) = [line for line in text.split("\n") if line.startswith("export VALUE=")]
    assert shlex.split(line) == ["export", f"VALUE={value}"]
    assert text.count("#SBATCH") == render(plan_of({}), RUN).count("#SBATCH")


def test_directives_come_only_from_checked_fields():
    text = render(plan_of(CASES["gpus_and_site"]), RUN)
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            assert re.fullmatch(r'#SBATCH --[a-z-]+(=("[^"]*"|[^\s"\']+))?', line)


@pytest.mark.parametrize("bad", ['a"b', "a'b", "a\\b", "a%b", "a\nb", "a$b", "a`b"])
def test_paths_that_sbatch_cannot_take_are_refused(bad):
    with pytest.raises(UserError, match="sbatch does not accept"):
        render(plan_of({}), PurePosixPath("/runs") / bad)


def test_stale_variables_are_gone_before_srun(tmp_path):
    """What a login shell exports must not send the ranks astray: the script is run for real."""
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/bash\nenv > $OUT\n")
    srun.chmod(0o755)
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\n[ "$3" = begin ] && echo "001 {}"\nexit 0\n')
    python.chmod(0o755)
    plan = plan_of({})
    object.__setattr__(plan, "python", python)
    stale = {"MASTER_ADDR": "old", "RANK": "3", "WORLD_SIZE": "9", "SLURM_CPU_BIND": "x"}
    out = tmp_path / "env"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "OUT": str(out), **stale}
    script = render(plan, tmp_path / "run")
    subprocess.run(["bash", "-c", script], env=environment, check=True, timeout=HANG_S)
    seen = out.read_text()
    assert "PTYCHO_DIST_ATTEMPT={}" in seen
    assert not any(f"{name}=" in line for name in stale for line in seen.splitlines())
