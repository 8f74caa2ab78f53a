"""A parameter dict of another package: filled and watched (LI-030 to LI-033)."""

import copy
import sys
import threading
from types import ModuleType

import numpy as np
import pytest

from ptycho_dist.errors import UserError
from ptycho_dist.legacy import LegacyError, LegacyScope, dataclass_to_legacy_dict, params


def test_the_scope_says_which_mode_it_is_in(config, foreign):
    """LI-030"""
    assert LegacyScope(config).mode == "sealed"
    assert LegacyScope(config, module="ptycho_dist.legacy.params").mode == "sealed"
    assert LegacyScope(config, module="foreign_params", attribute="cfg").mode == "watched"
    with LegacyScope(config, module="ptycho_dist.legacy.params"):
        assert params.cfg.sealed
    with LegacyScope(config, module="foreign_params") as scope:
        assert scope.mode == "watched"
        assert scope.address == "foreign_params.cfg"
        assert type(foreign.cfg) is dict


def test_it_is_filled_and_restored(config, foreign):
    """LI-031: None clears, keys of its own stay, bigN follows."""
    foreign.cfg["bigN"] = 1
    before, same = copy.deepcopy(foreign.cfg), foreign.cfg
    given = {k: v for k, v in dataclass_to_legacy_dict(config).items() if v is not None}
    with LegacyScope(config, module="foreign_params") as scope:
        assert foreign.cfg is same
        own = {"offset": 7, "label": "old", "shape": [1, 2], "bigN": 64 + 2 * 7}
        assert foreign.cfg == {**given, **own}
        assert params.cfg == params.DEFAULTS
        scope.check()
    assert foreign.cfg == before


def test_a_stale_value_is_cleared(make_run_config, foreign):
    """LI-031, LI-012"""
    foreign.cfg["n_groups"] = 99
    with LegacyScope(make_run_config(), module="foreign_params"):
        assert "n_groups" not in foreign.cfg
    assert foreign.cfg["n_groups"] == 99


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cfg: cfg.update(N=32), "N: 32 in place of 64"),
        (lambda cfg: cfg.update(new="x"), 'new: "x" in place of nothing'),
        (lambda cfg: cfg.pop("label"), 'label: nothing in place of "old"'),
        (lambda cfg: cfg["shape"].append(3), r"shape: \[1,2,3\] in place of \[1,2\]"),
        (lambda cfg: cfg.update(label=open), "'label' cannot be compared"),
    ],
)
def test_a_change_is_found_named_and_undone(change, words, config, foreign):
    """LI-031"""
    before = copy.deepcopy(foreign.cfg)
    scope = LegacyScope(config, module="foreign_params").__enter__()
    change(foreign.cfg)
    for ask in (scope.check, scope.close):
        with pytest.raises(LegacyError, match=words):
            ask()
    assert foreign.cfg == before


def test_computed_keys_are_not_watched(config, foreign):
    """LI-031"""
    with LegacyScope(config, module="foreign_params", computed=["label", "scale"]) as scope:
        digest = scope.digest
        foreign.cfg.update(label="new", scale=threading.Lock())
        scope.check()
        assert scope.digest == digest
    assert "scale" not in foreign.cfg


def test_another_dict_under_the_name_is_found_and_taken_away(config, foreign):
    """LI-031, LI-024"""
    own = foreign.cfg
    scope = LegacyScope(config, module="foreign_params").__enter__()
    foreign.cfg = {}
    for ask in (scope.check, scope.close):
        with pytest.raises(LegacyError, match=r"foreign_params\.cfg is no longer the dict"):
            ask()
    assert foreign.cfg is own
    assert own["N"] == 128


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (open, "not plain data"),
        (np.array([object()]), "not plain data"),
        ({1: 2}, "keys that are not text"),
        ({1, 2}, "not plain data"),
    ],
)
def test_what_cannot_be_compared_is_refused_unless_computed(value, words, config, foreign):
    """LI-032"""
    foreign.cfg["odd"] = value
    before = dict(foreign.cfg)
    with pytest.raises(LegacyError, match=f"'odd' cannot be compared .*{words}.*computed key"):
        LegacyScope(config, module="foreign_params").__enter__()
    assert foreign.cfg == before
    with LegacyScope(config, module="foreign_params", computed=["odd"]):
        assert foreign.cfg["odd"] is value
    assert foreign.cfg["odd"] is value


def test_a_value_that_holds_itself_is_refused(config, foreign):
    """LI-032"""
    foreign.cfg["loop"] = []
    foreign.cfg["loop"].append(foreign.cfg["loop"])
    with pytest.raises(LegacyError, match="'loop' cannot be compared"):
        LegacyScope(config, module="foreign_params").__enter__()


def test_a_key_that_is_not_text_is_refused(config, foreign):
    """LI-032"""
    foreign.cfg[5] = "five"
    with pytest.raises(LegacyError, match="the legacy key 5 is not text"):
        LegacyScope(config, module="foreign_params").__enter__()
    assert foreign.cfg["N"] == 128


def test_arrays_are_watched(config, foreign):
    """LI-032"""
    foreign.cfg["mask"] = np.zeros((2, 3))
    scope = LegacyScope(config, module="foreign_params").__enter__()
    foreign.cfg["mask"][1, 2] = 1
    with pytest.raises(LegacyError, match=r"mask: .*array.* in place of"):
        scope.close()
    assert foreign.cfg["mask"].tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("module", "attribute", "words"),
    [
        ("no_such_module", "cfg", "no_such_module: cannot be imported: No module named"),
        ("broken_params", "cfg", "broken_params: cannot be imported: no licence"),
        ("foreign_params", "none", r"foreign_params\.none: does not exist"),
        ("foreign_params", "number", r"foreign_params\.number: is a int, not a dict"),
    ],
)
def test_a_module_that_cannot_be_used_is_a_users_mistake(
    module, attribute, words, config, foreign, tmp_path, monkeypatch
):
    """LI-033"""
    (tmp_path / "broken_params.py").write_text("raise OSError('no licence\\nmore')")
    monkeypatch.syspath_prepend(str(tmp_path))
    foreign.number = 5
    with pytest.raises(UserError, match=words) as refused:
        LegacyScope(config, module=module, attribute=attribute).__enter__()
    assert "\n" not in str(refused.value)
    with LegacyScope(config):
        pass


def test_a_module_that_vanishes_is_found(config, monkeypatch):
    """LI-031"""
    module = ModuleType("vanishing")
    module.cfg = {"N": 1}
    monkeypatch.setitem(sys.modules, "vanishing", module)
    scope = LegacyScope(config, module="vanishing").__enter__()
    del sys.modules["vanishing"]
    with pytest.raises(LegacyError, match="no longer the dict"):
        scope.close()
    assert module.cfg == {"N": 1}
