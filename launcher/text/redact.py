"""Removes secrets from texts that will be shown to strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptycho_dist.errors import printable

REMOVED = "[removed]"
_SECRET_NAME = re.compile(
    r"pass(wor[dt]|wd|phrase)?(_|$)|secret|token|credential|(api|access|private|auth|ssh|_)_?key"
    r"|cookie|session_?id|auth(_|$)|bearer",
    re.IGNORECASE,
)
_PATTERNS = (
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # user:password of a URL
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.S),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?"),  # JSON Web Token
    re.compile(
        r"\b(hf|gh[opsur]|github_pat|glpat|sk|pk|rk|xox[a-z]|npm|pypi|dckr_pat)[-_][\w-]{12,}"
    ),
    re.compile(r"\b(AKIA|ASIA|AIza)[\w-]{12,}"),
    re.compile(  # long, of letters and digits, and not a part of a path
        r"(?<![^=:,\s])(?=[A-Za-z0-9+_-]*[0-9])(?=[A-Za-z0-9+_-]*[A-Za-z])[A-Za-z0-9+_-]{32,}={0,2}"
    ),
)
_ASSIGNED = re.compile(r"(?P<name>[\w-]{2,64})(?P<mark>\s*[=:]\s*)(?P<value>[^\s,;]+)")
LEAST = 6
"""Shorter values are words, not secrets: to remove them would spoil the text."""


def names_a_secret(name: str) -> bool:
    """Whether a name suggests that its value is a secret."""
    return bool(_SECRET_NAME.search(name.replace("-", "_")))


class Redactor:
    """Removes what looks like a secret, and the values of secret variables of this environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        secret = {value for name, value in environ.items() if names_a_secret(name)}
        self._values = sorted((v for v in secret if len(v) >= LEAST), key=len, reverse=True)
        home = str(Path(environ["HOME"])) if environ.get("HOME") else ""
        self._home = home if len(home) > 1 else ""

    def text(self, text: str) -> str:
        """The text in printable lines, without secrets, and with `~` for the home directory."""
        for value in self._values:
            text = text.replace(value, REMOVED)
        for pattern in _PATTERNS:
            text = pattern.sub(REMOVED, text)
        text = _ASSIGNED.sub(_without_value, text)
        if self._home:
            text = re.sub(rf"(?<![\w/]){re.escape(self._home)}(?![\w.-])", "~", text)
        return "\n".join(printable(line) for line in text.split("\n"))

    def data(self, data: Any) -> Any:
        """Plain data with all texts cleaned; the value of a secret name is removed as a whole."""
        if isinstance(data, dict):
            return {
                self.text(str(name)): REMOVED
                if isinstance(value, str) and names_a_secret(str(name)) and value != "set"
                else self.data(value)
                for name, value in data.items()
            }
        if isinstance(data, list):
            return [self.data(each) for each in data]
        return self.text(data) if isinstance(data, str) else data


def _without_value(found: re.Match[str]) -> str:
    secret = names_a_secret(found["name"])
    return f"{found['name']}{found['mark']}{REMOVED}" if secret else found[0]
