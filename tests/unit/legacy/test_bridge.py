"""From the canonical config to legacy keys (LI-010 to LI-014, CONFIG-002)."""

import contextlib
import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic.dataclasses import dataclass

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.resources import ResourcesConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.training import TrainingConfig, TrainingSection
from ptycho_dist.legacy import (
    ExecutionConfigRefused,
    LegacyError,
    LegacyScope,
    dataclass_to_legacy_dict,
    params,
    update_legacy_dict,
)
from ptycho_dist.legacy.bridge import KEY_MAPPING
from ptycho_dist.legacy.scope import COMPUTED_KEYS

EXECUTION_FIELDS = [field.name for field in dataclasses.fields(PyTorchExecutionConfig)]


@dataclass(frozen=True, kw_only=True)
class WiderModel(ModelConfig):
    """The contract's fields that ModelConfig may come to have."""

    object_big: bool = False
    probe_big: bool = True
    probe_mask: bool | None = None
    gaussian_smoothing_sigma: float = 0.5


@dataclass(frozen=True, kw_only=True)
class WiderTraining(TrainingConfig):
    """A training config as in the contract, its model inside."""

    model: Any = dataclasses.field(default_factory=WiderModel)
    train_data_file: Path = Path("a.npz")
    test_data_file: Path | None = None
    output_dir: Path = Path("out/here")
    positions_provided: bool = True
    intensity_scale_trainable: bool = True
    n_groups: int | None = None
    subsample_seed: int | None = None


def test_names_are_mapped_nested_configs_flattened_and_paths_become_text():
    """LI-010"""
    values = dataclass_to_legacy_dict(WiderTraining(probe_trainable=True))
    expected = {
        "object.big": False,
        "probe.big": True,
        "probe.mask": None,
        "probe.trainable": True,
        "intensity_scale.trainable": True,
        "positions.provided": True,
        "output_prefix": "out/here",
        "train_data_file_path": "a.npz",
        "test_data_file_path": None,
        "N": 64,
        "gaussian_smoothing_sigma": 0.5,
        "nepochs": 50,
    }
    assert expected.items() <= values.items()
    assert not set(KEY_MAPPING) & set(values)
    assert "model" not in values


def test_the_mapping_is_that_of_the_contract():
    """LI-010"""
    dotted = ["object_big", "probe_big", "probe_mask", "probe_trainable", "positions_provided"]
    assert {name: name.replace("_", ".") for name in dotted} == {k: KEY_MAPPING[k] for k in dotted}
    assert len(KEY_MAPPING) == 9


def test_every_field_of_a_canonical_config_arrives():
    """LI-010"""
    data = DataConfig(train_data_file=Path("/a.npz"), block_size=4)
    for config in (data, ModelConfig(), TrainingSection()):
        values = dataclass_to_legacy_dict(config)
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            expected = str(value) if isinstance(value, Path) else value
            assert values[KEY_MAPPING.get(field.name, field.name)] == expected
        assert len(values) == len(dataclasses.fields(config))
    flat = dataclass_to_legacy_dict(TrainingConfig(train_data_file=Path("/a.npz"), block_size=4))
    for config in (data, ModelConfig(), TrainingSection()):
        assert dataclass_to_legacy_dict(config).items() <= flat.items()
    assert flat["output_prefix"] == "training_outputs"
    assert "model" not in flat


def test_where_the_probe_comes_from_is_not_the_probe():
    """LI-010"""
    inference = InferenceConfig(
        model_path=Path("m"), test_data_file=Path("t.npz"), output_dir=Path("o")
    )
    values = dataclass_to_legacy_dict(inference)
    assert not COMPUTED_KEYS & set(values)
    assert values["output_prefix"] == "o"
    assert "model" not in values  # nor is which network is expected, where none is


def test_of_a_run_config_the_canonical_sections_count_and_nothing_else(config):
    """LI-011"""
    sections = (config.data, config.model, config.training)
    expected = {}
    for section in sections:
        expected |= dataclass_to_legacy_dict(section)
    assert dataclass_to_legacy_dict(config) == expected


def test_none_clears_what_was_there(make_run_config):
    """LI-012: a stale value must not survive."""
    with_seed = WiderTraining(subsample_seed=7, n_groups=100, test_data_file=Path("t.npz"))
    without = WiderTraining()
    for cfg in (params.cfg, {"untouched": 1}):
        update_legacy_dict(cfg, with_seed)
        assert (cfg["subsample_seed"], cfg["n_groups"]) == (7, 100)
        assert cfg["test_data_file_path"] == "t.npz"
        cfg["probe.mask"] = False
        update_legacy_dict(cfg, without)
        assert not {"subsample_seed", "n_groups", "test_data_file_path"} & set(cfg)
    assert params.cfg["probe.mask"] is params.DEFAULTS["probe.mask"] is True
    assert "probe.mask" not in cfg
    assert cfg["untouched"] == 1


def test_a_stored_big_n_follows():
    """LI-003"""
    for cfg in (params.cfg, {"N": 128, "gridsize": 2, "offset": 4}):
        cfg["bigN"] = 132
        update_legacy_dict(cfg, ModelConfig(N=64, gridsize=3))
        assert cfg["bigN"] == 64 + 2 * 4
    cfg = {"bigN": 132}
    update_legacy_dict(cfg, ModelConfig())
    assert "bigN" not in cfg


@pytest.mark.parametrize("wrong", [None, {"N": 64}, ModelConfig, 5, ResourcesConfig(), Path("a")])
def test_what_is_not_a_canonical_config_is_refused(wrong):
    """LI-013"""
    cfg = {"N": 1}
    with pytest.raises(LegacyError, match="take a RunConfig or one of DataConfig, ModelConfig"):
        update_legacy_dict(cfg, wrong)
    with pytest.raises(LegacyError, match=r"WiderTraining\.model is a ResourcesConfig"):
        update_legacy_dict(cfg, WiderTraining(model=ResourcesConfig()))
    assert cfg == {"N": 1}


def test_a_value_that_is_not_plain_is_refused():
    """LI-013"""
    with pytest.raises(LegacyError, match=r"WiderTraining\.model: a set cannot be a legacy value"):
        dataclass_to_legacy_dict(WiderTraining(model={1, 2}))
    with pytest.raises(LegacyError, match="a set cannot be a legacy value"):
        dataclass_to_legacy_dict(WiderTraining(model=[{1}]))


def test_two_values_for_one_key_are_refused():
    """LI-013"""

    @dataclass(frozen=True, kw_only=True)
    class Twice(TrainingSection):
        N: Any = 64
        model: Any = dataclasses.field(default_factory=ModelConfig)

    assert dataclass_to_legacy_dict(Twice())["N"] == 64
    for other in (128, 64.0):
        with pytest.raises(LegacyError, match=rf"'N' is {other} by Twice\.N and 64 by Twice\.mode"):
            dataclass_to_legacy_dict(Twice(N=other))


# --- CONFIG-002 ------------------------------------------------------------------------------


def leaves(hint):
    """The plain types and Literals of an annotation."""
    if isinstance(hint, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return leaves(hint.__value__)
    if typing.get_origin(hint) in (None, typing.Literal):
        return [hint]
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        inner = inner[:1]
    return [leaf for member in inner for leaf in leaves(member)]


def changed_execution(name):
    """An execution config in which one field is not at its default."""
    default = getattr(PyTorchExecutionConfig(), name)
    hints = typing.get_type_hints(PyTorchExecutionConfig, include_extras=True)
    candidates = []
    for leaf in leaves(hints[name]):
        if typing.get_origin(leaf) is typing.Literal:
            candidates += typing.get_args(leaf)
        candidates += {bool: [True, False], int: [8, 33], float: [0.25], str: ["train_loss"]}.get(
            leaf, []
        )
    candidates.append((3,))
    needs_workers = {} if name == "num_workers" else {"num_workers": 2}
    for value in candidates:
        if value != default:
            with contextlib.suppress(ValueError):
                return PyTorchExecutionConfig(**{**needs_workers, name: value})
    forged = PyTorchExecutionConfig()  # a field that has one value, as a hand could change it
    object.__setattr__(forged, name, not default)
    return forged


@pytest.mark.parametrize("name", EXECUTION_FIELDS)
def test_no_execution_field_reaches_the_globals(name, config):
    """LI-014, CONFIG-002: no way leads from any field to the globals."""
    execution = changed_execution(name)
    before = dict(params.cfg)
    for wrong in (execution, WiderTraining(model=execution)):
        for way in (
            dataclass_to_legacy_dict,
            lambda wrong: update_legacy_dict(params.cfg, wrong),
            lambda wrong: update_legacy_dict({}, wrong),
            LegacyScope,
        ):
            with pytest.raises(ExecutionConfigRefused, match="CONFIG-002"):
                way(wrong)
    with_it: RunConfig = dataclasses.replace(config, execution=execution)
    assert dataclass_to_legacy_dict(with_it) == dataclass_to_legacy_dict(config)
    with LegacyScope(config) as scope:
        digest = scope.digest
    with LegacyScope(with_it) as scope:
        assert scope.digest == digest
        assert name not in params.cfg
    field_of_that_name = dataclasses.make_dataclass(
        "Sly", [(name, Any, 1)], bases=(ModelConfig,), frozen=True, kw_only=True
    )
    with pytest.raises(ExecutionConfigRefused, match=rf"CONFIG-002: Sly\.{name} has the name"):
        dataclass_to_legacy_dict(field_of_that_name())
    assert params.cfg == before


@pytest.mark.parametrize("name", EXECUTION_FIELDS)
@pytest.mark.parametrize("computed", [False, True])
def test_no_execution_field_is_written_by_hand(name, computed, config):
    """LI-014, CONFIG-002: in the scope and outside, declared computed or not."""
    value = getattr(changed_execution(name), name)

    def in_every_way():
        for write in (
            lambda: params.set(name, value),
            lambda: params.cfg.__setitem__(name, value),
            lambda: params.cfg.update({name: value, "N": 64}),
            lambda: params.cfg.setdefault(name, value),
            lambda: params.cfg.__ior__({name: value}),
            lambda: params.cfg.__init__({name: value}),
        ):
            with pytest.raises(ExecutionConfigRefused, match="CONFIG-002"):
                write()
            assert name not in params.cfg

    before = dict(params.cfg)
    in_every_way()
    assert params.cfg == before
    with LegacyScope(config, computed=[name] if computed else []):
        in_every_way()


def test_the_writer_of_an_execution_field_is_named():
    """LI-014"""
    with pytest.raises(ExecutionConfigRefused, match=r"test_bridge\.py:\d+ wants to assign .*'ac"):
        params.cfg["accelerator"] = "cpu"
