"""A class of causes, and how it is recognised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Cause:
    """One class of causes."""

    name: str
    """Stable: scripts may compare it."""
    title: str
    """What happened, for people."""
    signs: tuple[str, ...] = ()
    """Regular expressions. One that matches a log line or a recorded reason proves the class."""
    hints: tuple[str, ...] = ()
    """Regular expressions that only make the class likely. A verdict on hints alone is a guess."""
    general: bool = False
    """Whether it says what broke but not why; a class that says why takes precedence."""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _any_of((*self.signs, *self.hints))

    @cached_property
    def _sure(self) -> re.Pattern[str]:
        return _any_of(self.signs)

    def fits(self, text: str) -> bool:
        """Whether one of the signs or hints matches the text."""
        return self._pattern.search(text) is not None

    def is_sure(self, text: str) -> bool:
        """Whether one of the signs matches the text, not only a hint."""
        return self._sure.search(text) is not None


def _any_of(expressions: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in expressions) or r"(?!)")
