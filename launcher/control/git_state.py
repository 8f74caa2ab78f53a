"""Asks git about a working tree, within a time limit, without running programs it configures."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.attempts.bounded_command import run_command

LIMIT_S = 3.0
"""Seconds for all questions about a repository: a slow disk must not delay a submission."""
MAX_DIFF_BYTES = 1_000_000
_MOST_BYTES = 4_000_000
_MAX_NAMES = 200
_CONFIGURED = r"^(remote\..*\.url|filter\..*\.(clean|smudge|process))$"
_SAFE = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_VARIABLES = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
}
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")
_QUERY = re.compile(r"[?#].*$", re.DOTALL)


class _NoAnswer(Exception):
    """Why git gives no answer, in words."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


@dataclass
class GitState:
    """The state of a repository, as far as git could tell in time. What is unknown is None."""

    commit: str | None = None
    branch: str | None = None
    """Name of the branch; None: HEAD is detached, or unknown."""
    dirty: bool | None = None
    changed: list[str] | None = None
    """Names of tracked files that differ from the commit."""
    untracked: list[str] | None = None
    """Names of untracked files. Their contents are not kept: nobody meant to share them."""
    remotes: dict[str, str] | None = None
    """Name of each remote → its address, without credentials."""
    note: str | None = None
    """What could not be found out, and why."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for code.json."""
        return asdict(self)


def root_of(folder: Path) -> Path | None:
    """The top of the working tree that holds a directory; None: there is none."""
    return next((path for path in (folder, *folder.parents) if (path / ".git").exists()), None)


class Repository:
    """Asks git about the repository with this top directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._until = time.monotonic() + LIMIT_S
        self._silenced: list[str] = []

    def state(self) -> GitState:
        """The state of the repository. Nothing is raised: `note` says what is unknown, and why."""
        state = GitState()
        try:
            state.remotes = self._learn_configured()
            self._read_status(state)
        except _NoAnswer as error:
            state.note = str(error)
        return state

    def tracked(self, paths: Sequence[Path]) -> set[Path]:
        """Which of these files are tracked; empty if git does not say."""
        names = [str(path.relative_to(self.root)) for path in paths]
        try:
            answer = self._ask("ls-files", "-z", "--", *names)
        except _NoAnswer:
            return set()
        return {self.root / name for name in answer.decode(errors="replace").split("\0") if name}

    def diff(self) -> tuple[bytes | None, str | None]:
        """The difference to the commit, for `git apply`; or None, and why there is none."""
        command = ("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color")
        try:
            text = self._ask(*command, "--ignore-submodules=dirty", most_bytes=MAX_DIFF_BYTES)
        except _NoAnswer as error:
            return None, str(error)
        return text, None

    def _learn_configured(self) -> dict[str, str]:
        """Read the remotes, and switch off the filters: git would run the programs they name."""
        try:
            answer = self._ask("config", "-z", "--get-regexp", _CONFIGURED)
        except _NoAnswer as error:
            if error.code == 1:  # nothing of the kind is configured
                return {}
            raise
        remotes = {}
        for pair in answer.decode(errors="replace").split("\0"):
            key, _, value = pair.partition("\n")
            if key.startswith("remote."):
                remotes[key.removeprefix("remote.").removesuffix(".url")] = without_secrets(value)
            elif "=" in key:  # `-c` would split the key at this character
                raise _NoAnswer("a filter in its configuration cannot be switched off")
            elif key:
                section = key.rpartition(".")[0]
                self._silenced += ["-c", f"{key}=", "-c", f"{section}.required=false"]
        return remotes

    def _read_status(self, state: GitState) -> None:
        answer = self._ask(
            *("status", "--porcelain=v2", "--branch", "-z"),
            *("--untracked-files=normal", "--ignore-submodules=dirty", "--no-renames"),
        )
        changed, untracked = [], []
        for entry in answer.decode(errors="replace").split("\0"):
            kind, _, rest = entry.partition(" ")
            if entry.startswith("# branch.oid ") and "(initial)" not in entry:
                state.commit = entry.removeprefix("# branch.oid ")
            elif entry.startswith("# branch.head ") and "(detached)" not in entry:
                state.branch = entry.removeprefix("# branch.head ")
            elif kind == "?":
                untracked.append(rest)
            elif kind in {"1", "u"}:
                changed.append(entry.split(" ", 8 if kind == "1" else 10)[-1])
        state.dirty = bool(changed or untracked)
        state.changed, state.untracked = changed[:_MAX_NAMES], untracked[:_MAX_NAMES]
        if max(len(changed), len(untracked)) > _MAX_NAMES:
            state.note = (
                f"{len(changed)} changed and {len(untracked)} untracked files; not all are named"
            )

    def _ask(self, *arguments: str, most_bytes: int = _MOST_BYTES) -> bytes:
        answer = run_command(
            ["git", *_SAFE, *self._silenced, *arguments],
            max(0.1, self._until - time.monotonic()),
            name=f"git {arguments[0]}",
            folder=self.root,
            variables=_VARIABLES,
            most_bytes=most_bytes,
        )
        if answer.trouble:
            raise _NoAnswer(answer.trouble, answer.code)
        return answer.stdout


def without_secrets(url: str) -> str:
    """The address of a remote without user, password and query; other texts stay as they are."""
    return _QUERY.sub("", _CREDENTIALS.sub("", url)) if "://" in url else url
