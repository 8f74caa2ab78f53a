"""Texts of untrusted records, short and printable."""

from __future__ import annotations

from launcher.text.plain_text import plain

MOST = 100
"""Entries of a record that a page can show."""
LONGEST = 200
"""Characters of a text."""


def text_of(value: object) -> str:
    """The text, shortened; empty where the value is no text."""
    return plain(value)[:LONGEST] if isinstance(value, str) else ""


def texts_of(value: object) -> dict[str, str]:
    """The entries of an object that are texts; empty where the value is no object."""
    if not isinstance(value, dict):
        return {}
    entries = list(value.items())[:MOST]
    return {plain(str(name))[:LONGEST]: text for name, each in entries if (text := text_of(each))}
