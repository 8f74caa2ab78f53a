"""What a login node loads (design: it never imports torch, lightning or h5py)."""

import subprocess
import sys

import pytest

MODULES = [
    "launcher.cli",
    "launcher.submit",
    "launcher.status",
    "launcher.cancel",
    "ptycho_dist.config",
    "ptycho_dist.legacy",
    "ptycho_dist.config.schema",
    "ptycho_dist.rundir",
    "ptycho_dist.rundir.__main__",
    "ptycho_dist.checkpoint.catalog",
    "ptycho_dist.data.order",
    "ptycho_dist.data.header",
    "ptycho_dist.runtime.stop",
    "ptycho_dist.runtime.entry",
    "ptycho_dist.cli.data",
]


@pytest.mark.parametrize("module", MODULES)
def test_no_torch_no_lightning_no_h5py(module):
    code = (
        f"import {module}, sys; "
        "found = {'torch', 'lightning', 'h5py'} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
