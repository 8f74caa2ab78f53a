"""Texts that a shell, sbatch or a terminal could take for more; and the fields that take text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bad_configs import alternatives, fields

MARK = "injected"
"""The file that a text makes where it is executed."""
DIRECTIVE = "#SBATCH --exclusive"
OF_A_SHELL = (
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"'; touch {MARK}; '",
    f'"; touch {MARK}; "',
    f"x; touch {MARK}",
    f"x && touch {MARK}",
    f"x | touch {MARK}",
    f"x > {MARK}",
    f"\\'; touch {MARK} #",
    "${PATH}",
    "~",
    "* ? [a-z] {a,b}",
    "!!",
    "%j %x %A %%",
    "--exclusive",
    "x --exclusive",
    f"x {DIRECTIVE}",
    "'",
    '"',
    "\\",
    "=",
    " ",
)
"""They may stand in a value, which arrives as it is."""
OF_TWO_LINES = (
    *(
        f"x{separator}{DIRECTIVE}"
        for separator in ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\0")
    ),
    f"x\ntouch {MARK}",
    "x\n",
    "\nx",
    "\x1b[2J",
    "\x9b2J",
    "\x07",
)
"""They may stand nowhere."""
SHELL_BY_NATURE = "environment.setup"


def string_fields() -> Iterator[tuple[str, str]]:
    """Each field that takes text, and how: `text`, `path`, `items`, `keys` or `values`.

    Not those that take some words alone: bad_configs tries these.
    """
    for section, name, of_field in fields():
        path = f"{section}.{name}" if section else name
        for each in alternatives(of_field):
            if "enum" in each or "const" in each or "enum" in each.get("items", {}):
                continue
            if each.get("type") == "string":
                yield path, "path" if each.get("format") == "path" else "text"
            elif each.get("type") == "array" and each["items"].get("type") == "string":
                yield path, "items"
            elif each.get("type") == "object":
                yield path, "keys"
                yield path, "values"


def placed(config: dict[str, Any], path: str, how: str, text: str) -> dict[str, Any]:
    """A copy of a config with a text in one field."""
    value: Any = {"items": [text], "keys": {text: "x"}, "values": {"NAME": text}}.get(how, text)
    section, _, name = path.rpartition(".")
    if not section:
        return {**config, name: value}
    return {**config, section: {**config.get(section, {}), name: value}}
