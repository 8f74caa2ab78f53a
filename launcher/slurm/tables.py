"""Tables as SLURM's commands print them: cells between `|`. Any text is accepted."""

from __future__ import annotations

from collections.abc import Iterator


def rows(text: str, columns: int) -> Iterator[list[str]]:
    """The lines that have at least this many cells; the last cell may contain `|` itself."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", columns - 1)]
        if len(cells) == columns:
            yield cells


def named_rows(text: str) -> Iterator[dict[str, str]]:
    """The lines below a header, each by the names of the header."""
    lines = [line for line in text.splitlines() if "|" in line]
    if not lines:
        return
    names = [name.strip() for name in lines[0].split("|")]
    for line in lines[1:]:
        cells = line.split("|")
        yield {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
