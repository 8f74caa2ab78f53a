"""Sealed legacy values: every way of writing is refused, its writer named (LI-022, LI-023)."""

import operator
from unittest import mock

import pytest

from ptycho_dist.legacy import (
    LegacyError,
    LegacyScope,
    LegacySealed,
    params,
    update_legacy_dict,
)
from ptycho_dist.legacy.params import cfg


def assign():
    cfg["N"] = 32


def assign_anew():
    cfg["new"] = 32


def assign_the_same():
    cfg["N"] = cfg["N"]


def delete():
    del cfg["N"]


def in_place_or():
    global cfg
    cfg |= {"N": 32}


def set_in_module():
    params.set("N", 32)


def set_something_wrong():
    params.set("N", -1)


WRITES = [
    assign,
    assign_anew,
    assign_the_same,
    delete,
    in_place_or,
    set_in_module,
    set_something_wrong,
    lambda: cfg.update({"N": 32}),
    lambda: cfg.update(N=32),
    lambda: cfg.update([("N", 32)]),
    lambda: cfg.update({"intensity_scale": 1.0, "N": 32}),
    lambda: cfg.pop("N"),
    lambda: cfg.pop("no_such_key", None),
    lambda: cfg.popitem(),
    lambda: cfg.setdefault("N", 32),
    lambda: cfg.setdefault("new", 32),
    lambda: cfg.setdefault("new"),
    lambda: cfg.clear(),
    lambda: cfg.__init__(N=32),
    lambda: operator.setitem(cfg, "N", 32),
    lambda: operator.delitem(cfg, "N"),
    lambda: operator.ior(cfg, {"N": 32}),
]


@pytest.mark.parametrize("write", WRITES, ids=lambda w: f"{w.__name__}-{w.__code__.co_firstlineno}")
def test_every_write_is_refused_and_its_writer_named(write, config):
    """LI-022"""
    with LegacyScope(config) as scope:
        before = dict(cfg)
        with pytest.raises(LegacySealed, match="sealed while a LegacyScope is open") as refused:
            write()
        lines = {line for *_, line in write.__code__.co_lines() if line}
        assert any(f"{__file__}:{line} wants to " in str(refused.value) for line in lines)
        assert cfg == before
        assert list(cfg) == list(before)
        scope.check()
    write_again_is_free()


def write_again_is_free():
    cfg["N"] = 32
    assert params.get("N") == 32
    cfg["N"] = 128


def test_the_bridge_is_refused_too(config, make_run_config):
    """LI-022"""
    with LegacyScope(config), pytest.raises(LegacySealed, match=r"test_seal\.py:\d+ wants to upd"):
        update_legacy_dict(cfg, make_run_config(N=256))


def test_code_of_others_that_writes_is_named(config):
    """LI-022: the innermost frame outside of the room."""
    with (
        LegacyScope(config),
        pytest.raises(LegacySealed, match=r"mock\.py:\d+ wants to update 'N'"),
        mock.patch.dict(cfg, {"N": 32}),
    ):
        pytest.fail("patched")


def test_nobody_else_breaks_the_seal(config):
    """LI-022"""
    with LegacyScope(config):
        for name, value in (("_computed", None), ("sealed", False), ("__class__", dict)):
            with pytest.raises(AttributeError, match=r"test_seal\.py:\d+: only a LegacyScope"):
                setattr(cfg, name, value)
        with pytest.raises(AttributeError):
            del cfg.sealed
        with pytest.raises(AttributeError):
            params.cfg = {}
        assert cfg.sealed


def test_computed_keys_may_be_written_and_deleted(config):
    """LI-023"""
    with LegacyScope(config) as scope:
        digest = scope.digest
        cfg["intensity_scale"] = 1.5
        params.set("probe", [[1j]])
        cfg.update(intensity_scale=2.5)
        assert operator.ior(cfg, {"intensity_scale": 3.5}) is cfg
        assert cfg.setdefault("intensity_scale", 1.0) == params.get("intensity_scale") == 3.5
        assert cfg.pop("intensity_scale") == 3.5
        del cfg["probe"]
        cfg["intensity_scale"] = 4.5
        assert scope.digest == digest
        scope.check()
    assert "intensity_scale" not in cfg


def test_big_n_can_be_written_as_what_it_is_only(config):
    """LI-023"""
    with LegacyScope(config):
        assert cfg["bigN"] == params.get("bigN") == 64 + 2 * 4
        cfg["bigN"] = 72
        with pytest.raises(LegacySealed, match=r"assign bigN = 73; with N, .* it is 72"):
            cfg["bigN"] = 73
        with pytest.raises(LegacySealed, match="set bigN = 73"):
            params.set("bigN", 73)
        del cfg["bigN"]
        cfg["bigN"] = 72


def test_a_declared_list_is_the_list(config):
    """LI-023"""
    with LegacyScope(config, computed=["label"]):
        cfg["label"] = "written"
        with pytest.raises(LegacySealed):
            cfg["intensity_scale"] = 1.0


def test_a_key_of_the_config_cannot_be_declared_computed(config):
    """LI-023"""
    with pytest.raises(LegacyError, match="N, nepochs: set by the config"):
        LegacyScope(config, computed=["N", "label", "nepochs"])


def test_what_goes_past_the_seal_is_found(config):
    """LI-025"""
    scope = LegacyScope(config).__enter__()
    scope.check()
    dict.update(cfg, N=32, new=1)
    for ask in (scope.check, scope.close):
        with pytest.raises(LegacyError, match=r"N: 32 in place of 64; new: 1 in place of nothing$"):
            ask()
    assert "new" not in cfg
    with pytest.raises(LegacyError, match="N: nothing in place of 64"), LegacyScope(config):
        dict.pop(cfg, "N")
    assert cfg == params.DEFAULTS


def test_a_long_list_of_changes_is_cut(config):
    """LI-025"""
    scope = LegacyScope(config).__enter__()
    dict.update(cfg, {f"new{number}": "x" * 500 for number in range(30)})
    with pytest.raises(LegacyError, match=r"new0: .*; and 22 more$") as refused:
        scope.close()
    assert len(str(refused.value)) < 1500


def test_a_broken_seal_is_found(config):
    """LI-025"""
    with LegacyScope(config) as scope:
        object.__setattr__(cfg, "_computed", None)
        with pytest.raises(LegacyError, match=r"the seal of ptycho_dist\.legacy\.params\.cfg is b"):
            scope.check()
        object.__setattr__(cfg, "_computed", frozenset())


def test_another_dict_under_the_name_is_found_and_taken_away(config):
    """LI-025, LI-024"""
    own = params.cfg
    scope = LegacyScope(config).__enter__()
    vars(params)["cfg"] = dict(own)
    for ask in (scope.check, scope.close):
        with pytest.raises(LegacyError, match="no longer the dict that the LegacyScope filled"):
            ask()
    assert params.cfg is own == params.DEFAULTS
