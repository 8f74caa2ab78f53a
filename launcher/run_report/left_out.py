"""What a report goes without: what of a run directory cannot be read, each with the reason."""

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
    """Collects, in one line each, what is left out and why."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}

    def note(self, text: str) -> None:
        """Add a line; one that is there already counts once."""
        text = plain(text)
        self._notes.setdefault(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")

    def reading(self, what: str, read: Callable[[], T], otherwise: S) -> T | S:
        """What `read` gives, or `otherwise` with a note where the directory does not allow it.

        Args:
            what: is left out then.
            read: raises a UserError, or an OSError, where it cannot.
            otherwise: stands in.
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
        """The first lines; the last one counts those beyond."""
        found = list(self._notes)
        if len(found) > MOST_NOTES:
            found[MOST_NOTES:] = [f"and {len(found) - MOST_NOTES} more"]
        return tuple(found)
