"""RC-015, EC-001: each field acts or is refused, and a test shows it.

`@pytest.mark.effect("section.field")` marks the test that changes a field and sees the effect, or
the refusal. A field without one fails here.
"""

import ast
import dataclasses
from pathlib import Path

import pytest

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.environment import EnvironmentConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.resources import RequeueConfig, ResourcesConfig
from ptycho_dist.config.training import TrainingConfig, TrainingSection

TESTS = Path(__file__).parents[2]
SECTIONS = {
    "execution": PyTorchExecutionConfig,
    "model": ModelConfig,
    "training": TrainingSection,
    "data": DataConfig,
    "inference": InferenceConfig,
    "requeue": RequeueConfig,
    "resources": ResourcesConfig,
    "environment": EnvironmentConfig,
}
FIELDS = [
    f"{section}.{field.name}"
    for section, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)
]


def marked():
    """Field → tests that are marked with it; the marks are read from the sources."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.effect":
                    for argument in mark.args:
                        found.setdefault(ast.literal_eval(argument), []).append(node.name)
    return found


MARKED = marked()


@pytest.mark.parametrize("field", FIELDS)
def test_a_test_shows_the_effect_of_each_field(field):
    assert MARKED.get(field), f"no test is marked effect({field!r})"


def test_marks_name_fields_that_exist():
    assert set(MARKED) <= set(FIELDS)


def test_the_canonical_config_has_no_field_beyond_the_sections_but_these():
    sections = {f.name for kind in (TrainingSection, DataConfig) for f in dataclasses.fields(kind)}
    flat = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert flat - sections == {"model", "output_dir"}
