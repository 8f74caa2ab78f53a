"""The dict that a scope fills: how to find it, and how to save and restore its content."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_dist.errors import UserError, first_line
from ptycho_dist.legacy import params
from ptycho_dist.legacy.digest import fingerprints
from ptycho_dist.legacy.errors import LegacyError

OWN_MODULE = params.__name__


@dataclass(frozen=True)
class Address:
    """The module and attribute under which legacy code finds a dict."""

    module: str
    attribute: str

    @property
    def is_own(self) -> bool:
        """Whether this is our own `params.cfg`, which can be sealed."""
        return self == Address(OWN_MODULE, "cfg")

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"

    def find(self) -> dict[str, Any]:
        """Import the module and look up the dict.

        Raises:
            UserError: The module cannot be imported or has no dict of that name.
        """
        try:
            module = importlib.import_module(self.module)
        except Exception as error:  # whatever a foreign module does when it is imported
            raise UserError(
                f"legacy.module {self.module}: cannot be imported: {first_line(error)}"
            ) from None
        found = getattr(module, self.attribute, None)
        if not isinstance(found, dict):
            what = "does not exist" if found is None else f"is a {type(found).__name__}, not a dict"
            raise UserError(f"legacy.attribute {self}: {what}")
        return found

    def leads_to(self, target: dict[str, Any]) -> bool:
        """Whether the address currently refers to this very dict."""
        return getattr(sys.modules.get(self.module), self.attribute, None) is target

    def bind(self, target: dict[str, Any]) -> None:
        """Make the address refer to this dict again."""
        if self.module in sys.modules:
            vars(sys.modules[self.module])[self.attribute] = target


class Before:
    """A snapshot of a dict that can be restored whatever was done to the dict or its values."""

    def __init__(self, target: dict[str, Any]) -> None:
        self._values = dict(target)
        self._copies = {
            key: (copy.deepcopy(value), _fingerprint(value))
            for key, value in target.items()
            if not isinstance(value, (bool, int, float, complex, str, bytes, type(None)))
            and _fingerprint(value) is not None
        }

    def put_back(self, target: dict[str, Any]) -> None:
        """Restore `target`, including values that were changed in place."""
        content = dict(self._values)
        for key, (kept, fingerprint) in self._copies.items():
            if _fingerprint(content[key]) != fingerprint:
                content[key] = copy.deepcopy(kept)
        replace_content(target, content)


def replace_content(target: dict[str, Any], content: Mapping[str, Any]) -> None:
    """Make `target` equal to `content`, bypassing any seal and never removing a key too early."""
    dict.update(target, content)
    for key in [key for key in target if key not in content]:
        dict.__delitem__(target, key)


def _fingerprint(value: Any) -> str | None:
    try:
        return fingerprints({"value": value})["value"]
    except LegacyError:
        return None
