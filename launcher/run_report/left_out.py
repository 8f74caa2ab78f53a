"""Notes of what a report leaves out because it cannot be read, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from launcher.text.plain_text import plain
from ptycho_dist.errors import UserError

MOST_NOTES = 40
_LONGEST = 400

T = TypeVar("T")
S = TypeVar("S")


class LeftOut:
    """Collects one line for each thing that is left out, with the reason."""

    def __init__(self) -> None:
        """Begin without notes."""
        self._notes: dict[str, None] = {}

    def note(self, text: str) -> None:
        """Add a line, unless it is there already."""
        text = plain(text)
        self._notes.setdefault(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")

    def reading(self, what: str, read: Callable[[], T], otherwise: S) -> T | S:
        """Call a reader; where it fails, note the reason and return a substitute.

        Args:
            what: name of what is left out on failure.
            read: the reader; it fails with a UserError or an OSError.
            otherwise: the substitute.
        """
        try:
            return read()
        except UserError as error:
            self.note(f"{what}: {error}")
        except OSError as error:
            self.note(f"{what}: {error.filename or ''}: {error.strerror or error}")
        return otherwise

    @property
    def notes(self) -> tuple[str, ...]:
        """The first lines; where there are more, the last line gives their number."""
        found = list(self._notes)
        if len(found) > MOST_NOTES:
            found[MOST_NOTES:] = [f"and {len(found) - MOST_NOTES} more"]
        return tuple(found)
