"""What a login node loads (design: it never imports torch, lightning or h5py)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANG_S

import launcher.status

MODULES = [
    "launcher.cli",
    "launcher.control.submit",
    "launcher.status.run_status",
    "launcher.control.cancel",
    "ptycho_dist.config",
    "ptycho_dist.legacy",
    "ptycho_dist.config.schema",
    "ptycho_dist.rundir",
    "ptycho_dist.attempts.__main__",
    "ptycho_dist.checkpoint.catalog",
    "ptycho_dist.data.order",
    "ptycho_dist.data.header",
    "ptycho_dist.runtime.stop",
    "ptycho_dist.rank.entry",
    "ptycho_dist.cli.data",
]
HEAVY = {"numpy", "pydantic", "rich", "scipy", "submitit", "yaml"}
"""Packages of the launcher, each of which takes a large part of the time of a command."""


@pytest.mark.parametrize("module", MODULES)
def test_no_torch_no_lightning_no_h5py(module):
    code = (
        f"import {module}, sys; "
        "found = {'torch', 'lightning', 'h5py'} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr


def imported_by(*arguments):
    """The top-level packages that a command of ptycho-launch has loaded when it ends."""
    code = (
        "import sys\nfrom launcher.cli import main\n"
        f"try:\n    code = main({list(map(str, arguments))!r})\n"
        "except SystemExit as end:\n    code = end.code\n"
        "print({name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stderr.splitlines()[-1])


def test_the_help_of_a_command_loads_no_package():
    """RC-125: a module of launcher/commands that imports one at its top slows every command."""
    assert not HEAVY & imported_by("plan", "--help")


def test_a_plan_loads_the_packages_of_a_config_alone(make_config, tmp_path):
    """RC-125"""
    loaded = imported_by("plan", make_config(), "--runs-dir", tmp_path)
    assert HEAVY & loaded == {"pydantic", "yaml"}


WRITERS = {
    *("write_json_atomic", "write_bytes_atomic", "LedgerWriter", "fsync_directory"),
    *("write_text", "write_bytes", "mkdir", "makedirs", "touch", "unlink", "rmtree", "rmdir"),
    *("rename", "symlink", "symlink_to", "link", "hardlink_to", "chmod", "truncate"),
    *("write_attempt", "create_attempt", "begin_attempt", "end_attempt"),
    *("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"),
}


def test_no_module_of_status_writes():
    """`status` reads, control changes."""
    modules = sorted(Path(launcher.status.__file__).parent.glob("*.py"))
    assert len(modules) > 10
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom):
                words = {alias.name for alias in node.names}
                assert not (node.module or "").startswith("launcher.control"), module
            else:
                words = {getattr(node, "attr", ""), getattr(node, "id", "")}
            assert not WRITERS & words, f"{module}: {WRITERS & words}"
            if isinstance(node, ast.Call) and "open" in _called(node):
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                modes = {str(each.value) for each in given if isinstance(each, ast.Constant)}
                assert not modes & {"w", "wb", "a", "ab", "x", "xb", "r+", "r+b", "w+b"}, module


def _called(node):
    return {getattr(node.func, "attr", ""), getattr(node.func, "id", "")}
