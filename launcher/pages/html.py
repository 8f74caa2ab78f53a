"""Renders a page as one HTML file that needs no network, no script and no font."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from launcher.pages.page import Block, DataTable, Page
from launcher.text.plain_text import plain

LONG = 5
"""Number of sections from which a page has a table of contents."""
NOTHING = ("", "-", "–")
"""Cells that stand for a missing figure."""
_ONE_NUMBER = r"[+−-]?\d[\d.,:]*(e[+−-]?\d+)?( ?(%|[A-Za-zµ/]{1,12}))?"
_NUMBER = re.compile(rf"[≥≤<>~]?{_ONE_NUMBER}( {_ONE_NUMBER})*( \(.*\))?")
_PREFIX = re.compile(r'id="(f[0-9a-f]{10})-')
"""The prefix of all ids of a drawing."""
_FOLDER = Path(__file__).resolve().parent


def render_page(page: Page) -> str:
    """The whole file, with all texts escaped and terminal control sequences removed."""
    return _template().render(
        page=page,
        long=len(page.sections) >= LONG,
        kind=_kind,
        numeric=_numeric_columns,
        svg=_Drawings().inline,
        data_uri=_data_uri,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.get_template("page.html.j2")


def _printable(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(plain(line) for line in value.split("\n"))


class _Drawings:
    """The drawings of one page; a drawing that occurs twice gets different ids."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def inline(self, svg: str) -> Markup:
        self._seen[svg] += 1
        copy = self._seen[svg]
        found = _PREFIX.search(svg)
        if copy > 1 and found:
            svg = svg.replace(f"{found[1]}-", f"{found[1]}-{copy}-")
        return Markup(svg)  # noqa: S704 - of `svg_of`, which escapes


def _kind(block: Block) -> str:
    return type(block).__name__


def _numeric_columns(table: DataTable) -> list[bool]:
    """For each column, whether all its cells are numbers, which are aligned right."""
    return [
        _is_numeric([row[place] for row in table.rows if place < len(row)])
        for place in range(len(table.columns))
    ]


def _is_numeric(cells: Sequence[str]) -> bool:
    return all(_NUMBER.fullmatch(cell) for cell in cells if cell not in NOTHING)


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
