"""JSON of records that hardly differ, such as those of the members of an array."""

from __future__ import annotations

import json
from typing import Any


class LikeTheLast:
    """`json_bytes`, which lays out anew only what differs from the record before.

    Python lays JSON out in Python, but writes it on one line in C: that line tells what differs.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], tuple[str, str]] = {}

    def __call__(self, data: Any) -> bytes:
        """The text that `json_bytes` gives."""
        return (self._text(data, ()) + "\n").encode()

    def _text(self, data: Any, place: tuple[str, ...]) -> str:
        line = json.dumps(data, allow_nan=False)
        if not isinstance(data, (dict, list)) or not data:
            return line
        before = self._last.get(place)
        if before is not None and before[0] == line:
            return before[1]
        outer = "\n" + "  " * len(place)
        if isinstance(data, dict):
            parts = [
                f"{outer}  {json.dumps(str(key))}: {self._text(value, (*place, str(key)))}"
                for key, value in data.items()
            ]
            text = "{" + ",".join(parts) + outer + "}"
        else:
            text = json.dumps(data, indent=2).replace("\n", outer)
        self._last[place] = line, text
        return text
