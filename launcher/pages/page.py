"""The parts of a report, before it becomes HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Caution:
    """A caution that a reader must not miss."""

    text: str


@dataclass(frozen=True)
class Code:
    """A command, or other text to be copied verbatim."""

    text: str


@dataclass(frozen=True)
class DataTable:
    """A table of texts; columns of numbers are aligned right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    marked: Sequence[int] = ()
    """Indices of rows that need caution."""


@dataclass(frozen=True)
class Figure:
    """An inline drawing that follows the reader's light or dark theme."""

    svg: str
    """The drawing as `svg_of` returns it."""
    caption: str
    alternative: str
    """What it shows in words, for readers who cannot see it."""


@dataclass(frozen=True)
class Picture:
    """An inline PNG."""

    png: bytes
    caption: str
    alternative: str
    beside: bool = False
    """Whether two pictures may stand side by side where there is room."""


Block = Text | Caution | Code | DataTable | Figure | Picture


@dataclass(frozen=True)
class Section:
    """A heading with its blocks."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]
