"""Lists the texts that a user of the two packages can see, so that a person can read them at once.

    python docs/reference/messages.py [PATH ...]

Each line is `file:line: text`. Listed are messages of errors, lines that are printed or logged,
help texts, and words of tables and reports; docstrings, comments and patterns are not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("launcher", "ptycho_dist")
SHOWING = {
    *("print", "say", "warn", "debug", "info", "warning", "error", "critical", "exception"),
    *("Fault", "Text", "assemble", "escape", "add_column", "add_row", "add_argument_group"),
    *("Section", "DataTable", "Figure", "Code", "Page", "Picture", "Column", "caption"),
    *("set_title", "set_xlabel", "set_ylabel", "legend", "annotate", "text"),
}
"""Functions and classes that show even a single word."""
INTERNAL = {
    *("compile", "fullmatch", "match", "search", "sub", "findall", "split", "rpartition"),
    *("partition", "startswith", "endswith", "removeprefix", "removesuffix", "replace", "strip"),
    *("getLogger", "encode", "get", "getenv", "setdefault", "getattr", "hasattr", "StrEnum"),
}
"""Functions whose texts nobody sees: patterns, keys and names."""
SHOWN_KEYWORDS = ("help", "title", "metavar", "label", "caption", "heading", "description")
_WORDS = re.compile(r"[A-Za-z]{2,}[^A-Za-z]*\s[^A-Za-z]*[A-Za-z]")
_TAG = re.compile(r"<style.*?</style>|<[^>]*>|{%.*?%}|{#.*?#}", re.DOTALL)


def messages_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of what Python code shows, in the order of the code."""
    yield from sorted(_shown(ast.parse(source), shown=False))


def _shown(node: ast.AST, *, shown: bool) -> Iterator[tuple[int, str]]:
    """The texts below a node; `shown`: they are shown even where they are single words."""
    if isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    ):
        text = " ".join(_text(node).split())
        if _WORDS.search(text) or (shown and re.search("[A-Za-z]{2}", text)):
            yield node.lineno, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant):
            continue  # a part of this text
        if isinstance(child, ast.Call):
            name = _name(child.func)
            if name not in INTERNAL:
                yield from _shown(child, shown=name in SHOWING)
        elif isinstance(child, ast.Raise):
            yield from _shown(child, shown=True)
        elif isinstance(child, ast.keyword):
            yield from _shown(child, shown=child.arg in SHOWN_KEYWORDS)
        elif isinstance(child, ast.Compare | ast.Subscript):
            yield from _shown(child, shown=False)
        else:
            yield from _shown(child, shown=shown)


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    """A text as it is written; what is filled in stands in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    parts = [
        str(part.value) if isinstance(part, ast.Constant) else f"{{{_filled_in(part)}}}"
        for part in node.values
    ]
    return "".join(parts)


def _filled_in(part: ast.expr) -> str:
    """The name of what is filled in, or dots where it is longer."""
    value = part.value if isinstance(part, ast.FormattedValue) else part
    return ast.unparse(value) if isinstance(value, ast.Name | ast.Attribute) else "..."


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def texts_of_template(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of what a template of a page shows."""
    blank = _TAG.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    for number, line in enumerate(blank.splitlines(), 1):
        if _WORDS.search(line):
            yield number, " ".join(line.split())


def main(arguments: list[str]) -> None:
    """Print the texts of the files or folders that are named, else of both packages."""
    for place in [Path(argument).resolve() for argument in arguments] or [
        REPOSITORY / package for package in PACKAGES
    ]:
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in files:
            find = {".py": messages_of, ".j2": texts_of_template}.get(file.suffix)
            for number, text in find(file.read_text("utf-8")) if find else ():
                print(f"{file.relative_to(REPOSITORY)}:{number}: {text}")


if __name__ == "__main__":
    main(sys.argv[1:])
