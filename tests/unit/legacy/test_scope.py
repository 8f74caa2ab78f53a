"""The scope: exclusive, filled from the config alone, undone in any case (LI-020 to LI-026)."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from pydantic.dataclasses import dataclass
from waiting import HANG_S

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.legacy import LegacyError, LegacyScope, dataclass_to_legacy_dict, params
from ptycho_dist.legacy.digest import digest, fingerprints
from ptycho_dist.legacy.scope import COMPUTED_KEYS

ROOM = Path(params.__file__).parent


def test_a_second_scope_is_refused(config, make_run_config, foreign):
    """LI-020"""
    with LegacyScope(config) as scope:
        for other in (
            scope,
            LegacyScope(config),
            LegacyScope(make_run_config(N=128)),
            LegacyScope(config, module="foreign_params"),
        ):
            with pytest.raises(LegacyError, match=rf"open in this process since {__file__}:\d+"):
                other.__enter__()
            assert scope.is_open
            scope.check()
    assert foreign.cfg["N"] == 128
    with LegacyScope(make_run_config(N=128)):
        assert params.get("N") == 128


def test_of_many_threads_one_gets_in(config):
    """LI-020"""
    outcomes, ready, all_have_tried = [], threading.Barrier(8), threading.Barrier(8)

    def enter():
        scope = LegacyScope(config)
        ready.wait()
        try:
            with scope:
                outcomes.append("in")
                all_have_tried.wait(20)
        except LegacyError:
            outcomes.append("refused")
            all_have_tried.wait(20)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["in"] + ["refused"] * 7
    assert params.cfg == params.DEFAULTS


def test_the_content_is_a_function_of_the_config_alone(config):
    """LI-021"""
    given = {k: v for k, v in dataclass_to_legacy_dict(config).items() if v is not None}
    expected = {**params.DEFAULTS, **given, "bigN": 72}
    stale = {"nphotons": 5.0, "n_groups": 99, "intensity_scale": 3.0, "whatever": 1}
    for before in ({}, stale):
        params.cfg.update(before)
        with LegacyScope(config) as scope:
            assert params.cfg == expected
            assert scope.values == {k: v for k, v in expected.items() if k != "bigN"}
        assert params.cfg == {**params.DEFAULTS, **before}


def test_values_that_are_not_valid_change_nothing():
    """LI-021"""

    @dataclass(frozen=True, kw_only=True)
    class Wider(ModelConfig):
        nphotons: float = -1.0

    before = dict(params.cfg)
    with pytest.raises(LegacyError, match=r"nphotons: -1\.0, allowed is a number above 0"):
        LegacyScope(Wider()).__enter__()
    assert params.cfg == before
    with LegacyScope(ModelConfig()):
        assert params.get("N") == 64


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_previous_content_comes_back_whatever_happens(error, config):
    """LI-024"""
    params.cfg.update(mine=[1, {"deep": [2]}], array=np.arange(3), text="before")
    del params.cfg["offset"]
    before = dict(params.cfg)
    mine, array = before["mine"], before["array"]
    scope = LegacyScope(config)

    def inside():
        with scope:
            mine[1]["deep"].append(3)
            array[0] = 9
            raise error("from inside")

    with pytest.raises(error, match="from inside"):
        inside()
    assert not params.cfg.sealed
    assert not scope.is_open
    assert params.cfg["mine"] == [1, {"deep": [2]}]
    assert params.cfg["array"].tolist() == [0, 1, 2]
    assert {**params.cfg, "mine": mine, "array": array} == before
    with scope:
        assert params.get("N") == 64
    params.cfg["N"] = 32


def test_what_was_not_changed_comes_back_as_the_same_object(config):
    """LI-024"""
    mine = params.cfg["mine"] = [1, 2]
    handle = params.cfg["handle"] = threading.Lock()
    with LegacyScope(config):
        assert "mine" not in params.cfg
    assert params.cfg["mine"] is mine
    assert params.cfg["handle"] is handle


def run_lines(action, not_in, interrupt_at=None):
    """Run `action`, with a Ctrl-C before the line of that number; returns the lines it ran.

    Lines of the room count, outside of the functions in `not_in`.
    """
    lines = []

    def trace(frame, event, argument):
        code = frame.f_code
        if Path(code.co_filename).parent != ROOM or code.co_name in not_in:
            return None
        if event == "line":
            if len(lines) == interrupt_at:
                raise KeyboardInterrupt
            lines.append(f"{code.co_filename}:{frame.f_lineno}")
        return trace

    tracing = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        assert len(lines) == interrupt_at
    finally:
        sys.settrace(tracing)
    return lines


def numbers(lines):
    """Where each distinct line is run for the first and for the last time."""
    last = {line: number for number, line in enumerate(lines)}
    return sorted({*last.values(), *(lines.index(line) for line in last)})


@pytest.mark.parametrize("module", [None, "foreign_params"])
def test_an_interrupt_anywhere_while_the_scope_opens_changes_nothing(config, module, foreign):
    """LI-024"""
    target = foreign.cfg if module else params.cfg
    target["mine"] = [1]
    before, not_in = dict(target), {"__enter__"}
    scope = LegacyScope(config, module=module)
    lines = run_lines(scope.__enter__, not_in)
    scope.close()
    assert len(numbers(lines)) > 50
    for number in numbers(lines):
        scope = LegacyScope(config, module=module)
        run_lines(scope.__enter__, not_in, number)
        assert target == before, lines[number]
        assert not scope.is_open, lines[number]
        with LegacyScope(config, module=module):  # nothing is held, and nothing sealed
            pass
        target["mine"] = [1]


@pytest.mark.parametrize("module", [None, "foreign_params"])
def test_an_interrupt_anywhere_while_the_scope_closes_restores_all(config, module, foreign):
    """LI-024"""
    target = foreign.cfg if module else params.cfg
    target["mine"] = [1]
    before, not_in = dict(target), {"__exit__", "close", "_put_back_surely"}
    scope = LegacyScope(config, module=module).__enter__()
    lines = run_lines(scope.close, not_in)
    assert len(numbers(lines)) > 40
    for number in numbers(lines):
        scope = LegacyScope(config, module=module).__enter__()
        run_lines(scope.close, not_in, number)
        assert target == before, lines[number]
        assert not scope.is_open, lines[number]
        target["mine"] = [1]


def test_an_error_that_leaves_the_scope_goes_on(config, caplog):
    """LI-025"""
    caplog.set_level(logging.ERROR)

    def inside():
        with LegacyScope(config):
            dict.update(params.cfg, N=32)
            raise RuntimeError("the real one")

    with pytest.raises(RuntimeError, match="the real one"):
        inside()
    assert "N: 32 in place of 64" in caplog.text
    assert params.cfg == params.DEFAULTS


def test_the_digest_is_that_of_the_canonical_json(config):
    """LI-026"""
    with LegacyScope(config) as scope:
        plain = {key: value for key, value in params.cfg.items() if key not in COMPUTED_KEYS}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        assert scope.digest == hashlib.sha256(text.encode()).hexdigest()
        dict.update(params.cfg, N=32)
        assert scope.digest != hashlib.sha256(text.encode()).hexdigest()
        dict.update(params.cfg, N=64)


def test_the_digest_is_the_same_in_every_process_and_for_every_order(config):
    """LI-026"""
    code = (
        "from pathlib import Path\n"
        "from ptycho_dist.config.data import DataConfig\n"
        "from ptycho_dist.config.model import ModelConfig\n"
        "from ptycho_dist.config.run import RunConfig\n"
        "from ptycho_dist.config.training import TrainingSection\n"
        "from ptycho_dist.legacy import LegacyScope\n"
        "config = RunConfig(name='other', data=DataConfig(train_data_file=Path('/data/train.npz')),"
        "model=ModelConfig(N=64, gridsize=3, n_filters_scale=1.0),"
        "training=TrainingSection(batch_size=8, nepochs=3, probe_trainable=True))\n"
        "with LegacyScope(config) as scope: print(scope.digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True, timeout=HANG_S,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    backwards = dict(reversed(params.cfg.items()))
    params.cfg.clear()
    params.cfg.update(backwards)
    with LegacyScope(config) as scope:
        assert digests == {scope.digest}
        shuffled = dict(sorted(params.cfg.items(), key=lambda item: item[0][::-1]))
        assert digest(fingerprints(shuffled, COMPUTED_KEYS)) == scope.digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        ("1", 1),
        (None, "null"),
        (1.0, 1.0000000000000002),
        (float("nan"), float("inf")),
        (1j, 1),
        ([1, 2], [2, 1]),
        ([[1], 2], [1, 2]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.zeros((2, 1)), np.zeros((1, 2))),
        (np.array([0, 1]), np.array([1, 0])),
    ],
)
def test_values_that_differ_have_different_digests(one, other):
    """LI-026"""
    assert digest(fingerprints({"key": one})) != digest(fingerprints({"key": other}))
    assert digest(fingerprints({"key": one})) == digest(fingerprints({"key": one}))


def test_a_closed_scope_has_no_digest(config):
    """LI-026"""
    scope = LegacyScope(config)
    for read in (scope.check, lambda: scope.digest, scope.worker_init):
        with pytest.raises(LegacyError, match=r"no LegacyScope of .* is open in this process"):
            read()
    assert scope.values == {}


def test_the_values_of_a_scope_are_a_copy(config):
    with LegacyScope(config) as scope:
        scope.values["N"] = 1
        assert scope.values["N"] == 64
