"""Fixtures of the legacy room."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.training import TrainingSection
from ptycho_dist.legacy import params
from ptycho_dist.legacy.sealing import unseal
from ptycho_dist.legacy.target import replace_content


@pytest.fixture(autouse=True)
def _fresh_globals() -> Iterator[None]:
    """Whatever a failing test leaves behind, the next one begins as a fresh process does."""
    from ptycho_dist.legacy import scope

    cfg = params.cfg
    yield
    scope._OPEN.clear()
    vars(params)["cfg"] = cfg
    unseal(cfg)
    replace_content(cfg, params.DEFAULTS)


@pytest.fixture
def make_run_config() -> Callable[..., RunConfig]:
    """`make_run_config(N=…, batch_size=…)`: its values are not the legacy ones."""

    def make(N: int = 64, batch_size: int = 8, **data: Any) -> RunConfig:
        return RunConfig(
            name="legacy",
            data=DataConfig(train_data_file=Path("/data/train.npz"), **data),
            model=ModelConfig(N=N, gridsize=3, n_filters_scale=1.0),
            training=TrainingSection(batch_size=batch_size, nepochs=3, probe_trainable=True),
        )

    return make


@pytest.fixture
def config(make_run_config: Callable[..., RunConfig]) -> RunConfig:
    return make_run_config()


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module as another package has it, with a plain dict."""
    module = ModuleType("foreign_params")
    module.cfg = {"N": 128, "offset": 7, "subsample_seed": 3, "label": "old", "shape": [1, 2]}
    monkeypatch.setitem(sys.modules, "foreign_params", module)
    return module
