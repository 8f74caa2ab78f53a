"""`ptycho-launch doctor`: complete even if little works, without secrets, and never stuck."""

import json
import shutil
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.doctor import doctor
from launcher.doctor import slurm as slurm_report
from launcher.doctor.doctor import SHOWN, examine, report_lines
from launcher.doctor.mounts import Mount, mount_of
from launcher.doctor.storage_probe import probe
from launcher.text.redact import REMOVED, Redactor, names_a_secret

TOKENS = (
    "hf_plantedplantedplanted",
    "ghp_planted0123456789planted",
    "AKIAPLANTEDPLANTED1234",
    "eyJhbGciOiJIUzI1NiJ9.cGxhbnRlZHBsYW50ZWQ.planted-planted",
    "c2VjcmV0LXBsYW50ZWQ0c2VjcmV0LXBsYW50ZWQ0",
    "https://user:planted-in-url@host/path",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted\n-----END OPENSSH PRIVATE KEY-----",
    "password=planted",
    "api_key: planted",
)
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-value",
    "WANDB_API_KEY": "planted wandb value",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow",
    "HTTPS_PROXY": "http://me:planted-proxy@proxy:3128",
    "SLURM_JWT": TOKENS[3],
    "PYTHONPATH": "/x:https://me:planted-index@host",
    "SECRET_NUMBER": "planted",
}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """`commands(name=text, ...)`: a PATH with shell scripts of these names, cat and sleep."""

    def write(**scripts):
        folder = tmp_path / "commands"
        folder.mkdir()
        for name, text in scripts.items():
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)
        for tool in ("cat", "sleep"):
            (folder / tool).symlink_to(shutil.which(tool))
        monkeypatch.setenv("PATH", str(folder))

    return write


def test_no_secret_is_in_the_report(commands, tmp_path, monkeypatch):
    """RC-122: neither secrets of the environment, nor those in the output of a site's commands."""
    said = tmp_path / "said"
    said.write_text(
        "\n".join([*TOKENS, *(f"{name} {value}" for name, value in SECRETS.items())])
        + "\nPrologFlags = planted-aws-value\nJobRequeue = \x1b[2J1\n"
    )
    commands(
        scontrol=f"cat {said}", sinfo=f"cat {said}", sbatch=f"cat {said}", quota=f"cat {said}",
        sacct=f"cat {said} >&2; exit 1",
    )  # fmt: skip
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    report = examine(tmp_path / "runs")
    text = "\n".join(report_lines(report))
    for written in (text, json.dumps(report)):
        assert "planted" not in written.lower()
        assert TOKENS[4] not in written
    assert all(line.isprintable() for line in text.split("\n"))
    assert report["slurm"]["settings"]["PrologFlags"] == REMOVED
    assert report["environment"]["HTTPS_PROXY"] == "set"
    assert "WANDB_API_KEY" not in report["environment"]


def test_commands_that_hang_do_not_hang_the_report(commands, tmp_path, monkeypatch):
    """RC-123: even if a child of a command holds the pipe open."""
    monkeypatch.setattr(slurm_report, "TIMEOUT_S", 0.5)
    hangs = "sleep 300 & sleep 300"
    commands(sinfo=hangs, scontrol=hangs, sbatch=hangs, sacct=hangs)
    report = examine(tmp_path)
    slurm = report["slurm"]
    for name, command in (
        ("version", "sbatch"), ("controller", "scontrol"), ("settings", "scontrol"),
        ("partitions", "sinfo"), ("features", "sinfo"), ("sacct", "sacct"),
    ):  # fmt: skip
        assert slurm[name] == f"{command} did not answer within 0.5 s"
    assert report["storage"]["rename over a file"].startswith("works")


def test_a_storage_that_hangs(commands, tmp_path, monkeypatch):
    """RC-123"""
    monkeypatch.setattr(doctor, "TIMEOUT_S", 0.5)
    commands(python="sleep 300", quota="sleep 300")
    monkeypatch.setattr("sys.executable", str(tmp_path / "commands" / "python"))
    report = examine(tmp_path)
    assert report["storage"] == {
        "runs directory": "the probe did not answer within 0.5 s",
        "quota": "quota did not answer within 0.5 s",
    }
    assert report["slurm"] == {"commands": "none on PATH"}


def test_the_command_prints_the_report(launch, tmp_path):
    """RC-124: as text and as JSON, with what a ticket needs, and without leaving a trace."""
    arguments = ("doctor", "--runs-dir", tmp_path / "no" / "runs")
    text, data = launch(*arguments), launch(*arguments, "--json")
    assert (text.returncode, data.returncode, text.stderr, data.stderr) == (0, 0, "", "")
    report = json.loads(data.stdout)
    assert set(report) == {"format", "software", "machine", "slurm", "storage", "environment"}
    assert {"torch", "submitit", "pydantic", "ptycho-dist"} <= set(report["software"]["packages"])
    for heading in ("software", "machine", "slurm", "storage", "environment"):
        assert heading in text.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_variables_by_name_and_values_of_some(tmp_path):
    """RC-122"""
    environ = {"NCCL_DEBUG": "INFO", "NCCL_UNHEARD_OF": "x", "EDITOR": "vi", "HOME": "/home/me",
               "TMPDIR": "/home/me/tmp", "SCRATCH": "/home/meme"}  # fmt: skip
    assert examine(tmp_path, environ)["environment"] == {
        "NCCL_DEBUG": "INFO",
        "NCCL_UNHEARD_OF": "set",
        "SCRATCH": "/home/meme",
        "TMPDIR": "~/tmp",
    }
    assert not [name for name in SHOWN if names_a_secret(name)]


def test_a_probe_leaves_nothing_and_says_what_fails(tmp_path):
    """RC-124"""
    found = probe(tmp_path / "not" / "there")
    assert found["looked at"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for name in ("write", "fsync", "rename over a file", "lock", "append"):
        assert found[name].startswith("works, ")
    assert probe(Path("/proc/no-such"))["write"].startswith("fails: ")


def test_the_file_system_is_that_of_the_longest_mount():
    mounts = (
        "/dev/vda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n"
        "lustre /home/a\\040b lustre rw 0 0\nodd\n\n"
    )
    assert mount_of(Path("/home/x"), mounts) == Mount("server:/home", Path("/home"), "nfs4")
    assert mount_of(Path("/home/a b/c"), mounts) == Mount("lustre", Path("/home/a b"), "lustre")
    assert mount_of(Path("/homes"), mounts) == Mount("/dev/vda", Path("/"), "ext4")
    assert mount_of(Path("/homes"), "") is None


@given(st.text(), st.text(string.printable, min_size=6), st.text())
def test_the_value_of_a_secret_variable_is_nowhere(before, secret, after):
    """RC-122"""
    redactor = Redactor({"X_TOKEN": secret})
    shown = redactor.text(f"{before} {secret} {after}")
    assert secret not in shown or secret in REMOVED
    assert all(line.isprintable() for line in shown.split("\n"))
    json.dumps(redactor.data({before: [secret, {after: 1}]}))


@pytest.mark.parametrize(
    "text",
    [
        "/opt/spack/linux-x86_64/gcc-12/py-torch-2.3-abcdefghijklmnopqrstuvwxyz012345/bin",
        "NCCL_SOCKET_IFNAME: hsn0",
        "GresTypes: gpu",
        "https://host/path?x=1",
        "python: 3.11.7 (/usr/bin/python)",
        "key: value",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redactor({}).text(text) == text
