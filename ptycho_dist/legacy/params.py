"""The legacy parameter module: one global dict, `cfg`, and a few functions that use it.

Names and defaults are those of PtychoPINN's `ptycho.params`, so that code written for it can use
`from ptycho_dist.legacy import params` instead. New code takes a config.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import MappingProxyType, ModuleType
from typing import Any

from ptycho_dist.legacy.sealing import LegacyValues, caller, derived_big_n

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "N": 128,
        "gridsize": 2,
        "offset": 4,
        "batch_size": 16,
        "nepochs": 60,
        "n_filters_scale": 2,
        "model_type": "pinn",
        "amp_activation": "sigmoid",
        "nphotons": 1e9,
        "nll_weight": 1.0,
        "mae_weight": 0.0,
        "realspace_weight": 0.0,
        "realspace_mae_weight": 0.0,
        "probe_scale": 10.0,
        "gaussian_smoothing_sigma": 0.0,
        "pad_object": True,
        "object.big": True,
        "probe.big": False,
        "probe.mask": True,
        "probe.trainable": False,
        "intensity_scale.trainable": False,
        "positions.provided": False,
        "output_prefix": "outputs",
    }
)
"""Values in a process before any config is applied."""

cfg = LegacyValues(DEFAULTS)
"""The globals: the same object for the life of the process."""


def get(key: str) -> Any:
    """Return the value of `key`; bigN is computed from N, gridsize and offset at each call.

    Raises:
        KeyError: The key is unknown.
    """
    return derived_big_n(cfg) if key == "bigN" else cfg[key]


def set(key: str, value: Any) -> None:
    """Set the value of `key`; a stored bigN follows N, gridsize and offset.

    Raises:
        ValueError: The value is not valid; the previous one is kept.
        LegacySealed: A LegacyScope is open, and the key is not a computed key.
        ExecutionConfigRefused: The key is a field of the execution config.
    """
    cfg.permit("set", {key: value})
    changes = {key: value}
    candidate = {**cfg, **changes}
    if "bigN" in cfg and key in ("N", "gridsize", "offset"):
        del candidate["bigN"]
    require_valid(candidate)
    if "bigN" in cfg and "bigN" not in candidate:
        changes["bigN"] = derived_big_n(candidate)
    cfg.update(changes)


def params() -> dict[str, Any]:
    """Return all values, including bigN, as a plain dict."""
    return {**cfg, "bigN": derived_big_n(cfg)}


def validate() -> bool:
    """Check all values and return True, so that an assertion of the result works.

    Raises:
        ValueError: Values are not valid; the message names each one and what is allowed.
    """
    require_valid(cfg)
    return True


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    return (
        lambda value: isinstance(value, Integral) and _is_number(value) and int(value) >= least,
        f"a whole number of at least {least}",
    )


_POSITIVE = (lambda value: _is_number(value) and value > 0, "a number above 0")
_WEIGHT = (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_NOT_NEGATIVE = (lambda value: _is_number(value) and value >= 0, "a number of at least 0")
_FLAG = (lambda value: isinstance(value, bool), "True or False")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "N": _whole(1),
    "gridsize": _whole(1),
    "offset": _whole(0),
    "batch_size": _whole(1),
    "nepochs": _whole(1),
    "n_filters_scale": _POSITIVE,
    "model_type": (lambda value: value in ("pinn", "supervised"), "'pinn' or 'supervised'"),
    "nphotons": _POSITIVE,
    "nll_weight": _WEIGHT,
    "mae_weight": _WEIGHT,
    "realspace_weight": _NOT_NEGATIVE,
    "realspace_mae_weight": _NOT_NEGATIVE,
    "probe_scale": _POSITIVE,
    "gaussian_smoothing_sigma": _NOT_NEGATIVE,
    "object.big": _FLAG,
    "probe.big": _FLAG,
    "probe.trainable": _FLAG,
    "intensity_scale.trainable": _FLAG,
    "positions.provided": _FLAG,
}


def require_valid(values: Mapping[str, Any]) -> None:
    """Check legacy values against all rules and report every fault together.

    Raises:
        ValueError: Values are not valid; the message names each one and what is allowed.
    """
    faults = [f"{key}: missing" for key in ("N", "gridsize", "offset") if key not in values]
    faults += [
        f"{key}: {values[key]!r}, allowed is {allowed}"
        for key, (is_valid, allowed) in _RULES.items()
        if key in values and not is_valid(values[key])
    ]
    if not faults and "bigN" in values and values["bigN"] != derived_big_n(values):
        faults = [f"bigN: {values['bigN']!r}, N + (gridsize - 1)·offset is {derived_big_n(values)}"]
    if faults:
        raise ValueError(f"legacy values: {'; '.join(faults)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


class _Params(ModuleType):
    """A module whose `cfg` cannot be replaced, as consumers keep a reference to the old dict."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "cfg":
            raise AttributeError(f"{caller()} wants to replace params.cfg; change its values")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name == "cfg":
            raise AttributeError(f"{caller()} wants to delete params.cfg")
        super().__delattr__(name)


sys.modules[__name__].__class__ = _Params
