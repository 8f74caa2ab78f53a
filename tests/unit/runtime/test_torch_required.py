"""POLICY-001: torch is mandatory, and the error names what to install."""

import subprocess
import sys

import pytest
import torch
from waiting import HANG_S

from ptycho_dist.errors import UserError
from ptycho_dist.runtime.torch_required import MissingTorch, require_torch


def test_without_torch_a_runtime_error_says_what_to_install(monkeypatch):
    """EC-047"""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"POLICY-001: .*pip install 'torch>=2\.2'") as caught:
        require_torch()
    assert isinstance(caught.value, UserError)


def test_a_torch_that_is_too_old_is_refused(monkeypatch):
    """EC-047"""
    for version in ("2.1.2+cu118", "1.13.1"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(MissingTorch, match="too old"):
            require_torch()
    monkeypatch.setattr(torch, "__version__", "2.2.0a0+git1")
    require_torch()


def test_a_folder_named_torch_is_no_torch(tmp_path, monkeypatch):
    """EC-047: Python imports such a folder, as a namespace package."""
    (tmp_path / "torch").mkdir()
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(MissingTorch, match=f"is not a package: .*{tmp_path.name}.*pip install"):
        require_torch()


@pytest.mark.parametrize("module", ["ptycho_dist.training", "ptycho_dist.training.fit"])
def test_the_training_room_says_so_when_it_is_imported(module):
    """EC-047"""
    code = f"import sys; sys.modules['torch'] = None\nimport {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 1
    assert "MissingTorch: POLICY-001: torch cannot be imported by" in done.stderr
