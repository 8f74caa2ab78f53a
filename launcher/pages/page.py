"""What a report is made of, before it becomes HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Caution:
    """Something that a reader must not miss."""

    text: str


@dataclass(frozen=True)
class Code:
    """A command, or text to be copied as it is."""

    text: str


@dataclass(frozen=True)
class DataTable:
    """Rows of texts; numbers are aligned right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    marked: Sequence[int] = ()
    """Rows that a reader must take with care."""


@dataclass(frozen=True)
class Figure:
    """A drawing, inline, that follows the reader's light or dark theme."""

    svg: str
    """As `svg_of` gives it."""
    caption: str
    alternative: str
    """What it shows, in words, for those who do not see it."""


@dataclass(frozen=True)
class Picture:
    """A PNG, inline."""

    png: bytes
    caption: str
    alternative: str
    beside: bool = False
    """One of many: two stand side by side where there is room."""


Block = Text | Caution | Code | DataTable | Figure | Picture


@dataclass(frozen=True)
class Section:
    """A heading with what belongs to it."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    subtitle: str
    sections: Sequence[Section]
