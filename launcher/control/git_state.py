"""What git says of a working tree, asked within a limit, without running what it configures."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.attempts.bounded_command import run_command

LIMIT_S = 3.0
"""For all questions about one repository; slow file systems must not hold a submission up."""
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
    """Why git does not say, in words."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


@dataclass
class GitState:
    """A repository as far as git could say in time."""

    commit: str | None = None
    branch: str | None = None
    """None: detached, or not said."""
    dirty: bool | None = None
    changed: list[str] | None = None
    """Names of tracked files that differ from the commit."""
    untracked: list[str] | None = None
    """Names alone: what is in them was never meant to be shared."""
    remotes: dict[str, str] | None = None
    """Without credentials."""
    note: str | None = None
    """What could not be learnt, and why."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for code.json."""
        return asdict(self)


def root_of(folder: Path) -> Path | None:
    """The top of the working tree around a directory; None: there is none."""
    return next((path for path in (folder, *folder.parents) if (path / ".git").exists()), None)


class Repository:
    """A repository by its top."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._until = time.monotonic() + LIMIT_S
        self._silenced: list[str] = []

    def state(self) -> GitState:
        """What it is; nothing is raised: what git does not say is None, and `note` says why."""
        state = GitState()
        try:
            state.remotes = self._learn_configured()
            self._read_status(state)
        except _NoAnswer as error:
            state.note = str(error)
        return state

    def tracked(self, paths: Sequence[Path]) -> set[Path]:
        """Those of these files that are part of the repository; empty where git does not say."""
        names = [str(path.relative_to(self.root)) for path in paths]
        try:
            answer = self._ask("ls-files", "-z", "--", *names)
        except _NoAnswer:
            return set()
        return {self.root / name for name in answer.decode(errors="replace").split("\0") if name}

    def diff(self) -> tuple[bytes | None, str | None]:
        """What differs from the commit, as `git apply` takes it; or None, and why."""
        command = ("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color")
        try:
            text = self._ask(*command, "--ignore-submodules=dirty", most_bytes=MAX_DIFF_BYTES)
        except _NoAnswer as error:
            return None, str(error)
        return text, None

    def _learn_configured(self) -> dict[str, str]:
        """The remotes; and from here on no program is run that a filter names."""
        try:
            answer = self._ask("config", "-z", "--get-regexp", _CONFIGURED)
        except _NoAnswer as error:
            if error.code == 1:  # nothing of it is configured
                return {}
            raise
        remotes = {}
        for pair in answer.decode(errors="replace").split("\0"):
            key, _, value = pair.partition("\n")
            if key.startswith("remote."):
                remotes[key.removeprefix("remote.").removesuffix(".url")] = without_secrets(value)
            elif "=" in key:  # `-c` would split it there
                raise _NoAnswer("a filter of its configuration cannot be kept from running")
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
                f"{len(changed)} changed and {len(untracked)} untracked files, not all named"
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
    """A remote's address without user, password and query; what is no address stays."""
    return _QUERY.sub("", _CREDENTIALS.sub("", url)) if "://" in url else url
