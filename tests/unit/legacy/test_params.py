"""The parameter module that legacy consumers import (LI-001 to LI-005)."""

import copy
import importlib
import pickle

import numpy as np
import pytest

from ptycho_dist.legacy import params
from ptycho_dist.legacy.bridge import KEY_MAPPING


def test_a_fresh_process_has_the_defaults_of_the_contract():
    """LI-002"""
    stated = {"N": 128, "gridsize": 2, "offset": 4, "batch_size": 16, "nphotons": 1e9}
    assert stated.items() <= params.cfg.items()
    assert params.get("probe_scale") == 10
    assert {key for key in KEY_MAPPING.values() if not key.endswith("_path")} <= set(params.cfg)
    assert params.validate() is True
    assert isinstance(params.cfg, dict)


def test_big_n_is_worked_out_whatever_is_stored():
    """LI-003"""
    assert params.get("bigN") == 128 + (2 - 1) * 4
    assert "bigN" not in params.cfg
    dict.__setitem__(params.cfg, "bigN", 1)
    params.cfg["gridsize"] = 3
    assert params.get("bigN") == params.params()["bigN"] == 128 + (3 - 1) * 4


@pytest.mark.parametrize(
    ("key", "value", "expected"), [("N", 64, 68), ("gridsize", 4, 140), ("offset", 0, 128)]
)
def test_a_stored_big_n_follows(key, value, expected):
    """LI-003"""
    params.set("bigN", 132)
    params.set(key, value)
    assert params.cfg["bigN"] == expected


def test_params_is_a_copy():
    """LI-001"""
    params.params()["N"] = 1
    assert params.get("N") == 128


def test_get_of_a_key_that_is_not_there():
    """LI-001"""
    with pytest.raises(KeyError, match="no_such_key"):
        params.get("no_such_key")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("N", 0, "N: 0, allowed is a whole number of at least 1"),
        ("N", 64.0, "N: 64.0"),
        ("gridsize", True, "gridsize: True"),
        ("offset", -1, "at least 0"),
        ("nphotons", 0, "above 0"),
        ("nll_weight", 1.5, "from 0 to 1"),
        ("model_type", "magic", "'pinn' or 'supervised'"),
        ("object.big", 1, "True or False"),
        ("bigN", 5, r"bigN: 5, N \+ \(gridsize - 1\)·offset is 132"),
    ],
)
def test_set_of_a_wrong_value_leaves_the_one_before(key, value, words):
    """LI-004, LI-001"""
    before = dict(params.cfg)
    with pytest.raises(ValueError, match=words):
        params.set(key, value)
    assert params.cfg == before


def test_set_takes_what_numpy_counts_in():
    params.set("N", np.int64(64))
    assert params.get("bigN") == 68


def test_validate_names_every_fault():
    """LI-001"""
    params.cfg.update({"N": "x", "batch_size": 0})
    del params.cfg["offset"]
    with pytest.raises(ValueError, match=r"offset: missing; N: 'x'.*; batch_size: 0"):
        params.validate()


def test_cfg_cannot_be_exchanged():
    """LI-005"""
    cfg = params.cfg
    with pytest.raises(AttributeError, match=r"test_params\.py:\d+ wants to replace params\.cfg"):
        params.cfg = {}
    with pytest.raises(AttributeError, match=r"test_params\.py:\d+ wants to delete params\.cfg"):
        del params.cfg
    assert params.cfg is cfg
    params.note = "other names are free"
    del params.note


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        dict.copy,
        lambda cfg: pickle.loads(pickle.dumps(cfg)),
        lambda cfg: pickle.loads(pickle.dumps(cfg, protocol=0)),
        lambda cfg: cfg | {},
    ],
)
def test_a_copy_is_a_plain_dict(copied):
    """LI-005"""
    twin = copied(params.cfg)
    assert type(twin) is dict
    assert twin == params.cfg
    twin["N"] = 1
    assert params.cfg["N"] == 128


def test_the_module_is_found_under_both_names():
    assert importlib.import_module("ptycho_dist.legacy.params") is params
