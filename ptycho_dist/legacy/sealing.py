"""A dict that can be sealed, and that the execution config cannot enter (CONFIG-002)."""

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
    """bigN = N + (gridsize − 1)·offset: pixels across a group of grid data.

    Raises:
        KeyError: N, gridsize or offset is not there.
    """
    return values["N"] + (values["gridsize"] - 1) * values["offset"]


class LegacyValues(dict[str, Any]):
    """The legacy globals: a dict in all respects, but that it can be sealed.

    Sealed, every way of writing that a dict has raises LegacySealed, except for the keys declared
    computed. Sealed or not, a key with the name of an execution field raises
    ExecutionConfigRefused. A copy, also by pickle, is a plain dict of its own.

    `dict.__setitem__(values, …)` and its like go past any subclass; LegacyScope finds what they
    did by the digest.
    """

    __slots__ = ("_computed",)
    _computed: frozenset[str] | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> LegacyValues:
        values = super().__new__(cls)
        unseal(values)
        return values

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what `dict` takes; called again, it is one more way of writing."""
        self.update(*args, **kwargs)

    @property
    def sealed(self) -> bool:
        """Whether a LegacyScope holds the values."""
        return self._computed is not None

    def permit(self, action: str, changes: Mapping[str, Any]) -> None:
        """Let `changes` pass, or name who wanted to make them.

        Args:
            action: what is done, for the message.
            changes: keys and their new values.

        Raises:
            LegacySealed: the values are sealed, and a key is not a computed one; or bigN would
                contradict N, gridsize and offset.
            ExecutionConfigRefused: a key is the name of an execution field.
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
        """All of it or, when one key is refused, nothing."""
        changes = dict(*args, **kwargs)
        self.permit("update", changes)
        super().update(changes)

    def __ior__(self, other: Any) -> LegacyValues:  # type: ignore[override,misc]
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Refused, sealed, also where the key is there: who calls this means to write."""
        self.permit("set a default for", {key: default})
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """As in dict; refused where deleting is."""
        if self.sealed:
            self.permit("pop", {key: _GONE})
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """As in dict; refused when sealed, whatever the last key is."""
        if self.sealed:
            self._refuse("pop", "an item")
        return super().popitem()

    def clear(self) -> None:
        """As in dict; refused when sealed."""
        if self.sealed:
            self._refuse("clear", "all values")
        super().clear()

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)


def seal(values: LegacyValues, computed: frozenset[str]) -> None:
    """Refuse every write from here on, but to the keys in `computed`. For LegacyScope alone."""
    object.__setattr__(values, "_computed", computed)


def unseal(values: LegacyValues) -> None:
    """The other way round. For LegacyScope alone."""
    object.__setattr__(values, "_computed", None)


def caller() -> str:
    """File and line of the innermost frame that is not in this room."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and Path(frame.f_code.co_filename).parent == _ROOM:
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
