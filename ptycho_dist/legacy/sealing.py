"""A dict that can be sealed and that refuses fields of the execution config (CONFIG-002)."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.legacy.errors import ExecutionConfigRefused, LegacySealed

EXECUTION_FIELDS = frozenset(field.name for field in dataclasses.fields(PyTorchExecutionConfig))
_ROOM = Path(__file__).parent
_GONE = object()


def derived_big_n(values: Mapping[str, Any]) -> Any:
    """Compute bigN = N + (gridsize − 1)·offset, the width in pixels of a group of patterns.

    The formula is that of PtychoPINN's `ptycho.params`.

    Raises:
        KeyError: N, gridsize or offset is missing.
    """
    return values["N"] + (values["gridsize"] - 1) * values["offset"]


class LegacyValues(dict[str, Any]):
    """The legacy globals: a dict that can be sealed.

    While it is sealed, every write raises LegacySealed, except to the keys declared computed.
    Sealed or not, a key with the name of an execution field raises ExecutionConfigRefused. A copy,
    also one made by pickle, is an independent plain dict.

    Calls such as `dict.__setitem__(values, …)` bypass any subclass; LegacyScope detects their
    effect by the digest.
    """

    __slots__ = ("_computed",)
    _computed: frozenset[str] | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> LegacyValues:
        """Create an unsealed dict, also when it is unpickled or copied without `__init__`."""
        values = super().__new__(cls)
        unseal(values)
        return values

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Accept the arguments of `dict`; calling it again is one more way to write."""
        self.update(*args, **kwargs)

    @property
    def sealed(self) -> bool:
        """Whether a LegacyScope has sealed the values."""
        return self._computed is not None

    def permit(self, action: str, changes: Mapping[str, Any]) -> None:
        """Raise an error that names the caller unless `changes` are allowed.

        Args:
            action: The verb for the message, such as `update`.
            changes: Keys and their new values.

        Raises:
            LegacySealed: The values are sealed and a key is not a computed key; or bigN would
                contradict N, gridsize and offset.
            ExecutionConfigRefused: A key is the name of an execution field.
        """
        for key, value in changes.items():
            if key in EXECUTION_FIELDS:
                raise ExecutionConfigRefused(
                    f"CONFIG-002: {caller()} wants to {action} the legacy value {key!r}, a field "
                    "of the execution config, which never reaches the legacy globals"
                )
            if self._computed is None:
                continue
            if key not in self._computed:
                self._refuse(action, repr(key))
            if key == "bigN" and value is not _GONE and value != derived_big_n(self):
                raise LegacySealed(
                    f"{caller()} wants to {action} bigN = {value!r}; with N, gridsize and offset "
                    f"as they are it is {derived_big_n(self)}"
                )

    def _refuse(self, action: str, what: str) -> None:
        raise LegacySealed(
            f"{caller()} wants to {action} {what}; the legacy values are sealed while a "
            "LegacyScope is open: they come from the config alone, so change it there"
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{caller()}: only a LegacyScope seals and unseals legacy values")

    def __setitem__(self, key: str, value: Any) -> None:
        self.permit("assign", {key: value})
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if self.sealed:
            self.permit("delete", {key: _GONE})
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update all keys, or none if one of them is refused."""
        changes = dict(*args, **kwargs)
        self.permit("update", changes)
        super().update(changes)

    def __ior__(self, other: Any) -> LegacyValues:  # type: ignore[override,misc]
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Work as in dict; while sealed it is refused even if the key exists."""
        self.permit("set a default for", {key: default})
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Work as in dict; refused where deleting is refused."""
        if self.sealed:
            self.permit("pop", {key: _GONE})
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Work as in dict; refused while sealed, whatever the last key is."""
        if self.sealed:
            self._refuse("pop", "an item")
        return super().popitem()

    def clear(self) -> None:
        """Work as in dict; refused while sealed."""
        if self.sealed:
            self._refuse("clear", "all values")
        super().clear()

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)


def seal(values: LegacyValues, computed: frozenset[str]) -> None:
    """Refuse writes to all keys except those in `computed`. Only LegacyScope calls this."""
    object.__setattr__(values, "_computed", computed)


def unseal(values: LegacyValues) -> None:
    """Allow writes again. Only LegacyScope calls this."""
    object.__setattr__(values, "_computed", None)


def caller() -> str:
    """Return file and line of the innermost stack frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and Path(frame.f_code.co_filename).parent == _ROOM:
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
