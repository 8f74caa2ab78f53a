"""The states of the code that a run was submitted with, from its code.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.pages.page import DataTable
from launcher.pages.words import NONE, date
from launcher.provenance.texts import MOST, text_of
from launcher.text.counted import listed
from launcher.text.plain_text import plain
from ptycho_dist.rundir.checked_json import moment

_SHOWN_FILES = 10


@dataclass(frozen=True)
class Checkout:
    """A git checkout that a package was imported from."""

    path: str
    commit: str
    """Empty: git did not say."""
    dirty: bool | None
    """Whether tracked files differ from the commit; None: unknown."""
    changed: tuple[str, ...]
    """Names of the tracked files that differ from the commit."""

    @property
    def words(self) -> str:
        """The commit, its checkout, and whether it had changes."""
        changes = {True: ", with uncommitted changes", False: "", None: ", changes unknown"}
        return f"{self.commit or 'unknown commit'} of {self.path}{changes[self.dirty]}"


@dataclass(frozen=True)
class CodeState:
    """The code that a submission was made with."""

    at: float | None
    """Time of the submission, in seconds since the epoch; None: not recorded."""
    sha256: str
    """Digest over all files of both packages."""
    checkouts: tuple[Checkout, ...]
    """Empty: the packages were not imported from a checkout."""
    version: str
    """Version of the installed distribution; empty: not recorded."""
    diff: str
    """Name of the file that holds the uncommitted changes; empty: there is none."""


def code_states(record: Mapping[str, Any]) -> tuple[CodeState, ...]:
    """The states in a code.json, oldest first; damaged entries are left out.

    Args:
        record: the object in code.json; untrusted.
    """
    states = record.get("states")
    listed = [each for each in states if isinstance(each, dict)] if isinstance(states, list) else []
    return tuple(_state(each) for each in listed[-MOST:])


def code_table(states: Sequence[CodeState]) -> DataTable:
    """One row for each state of the code."""
    rows = [
        (
            date(state.at),
            "; ".join(checkout.words for checkout in state.checkouts) or NONE,
            _changed(state),
            state.diff or NONE,
            state.version or NONE,
            state.sha256 or NONE,
        )
        for state in states
    ]
    heads = ("submitted", "commit", "changed files", "diff", "version", "SHA-256 of the code")
    return DataTable(heads, rows, "Code")


def _state(record: Mapping[str, Any]) -> CodeState:
    installed, checkouts = record.get("installed"), record.get("checkouts")
    return CodeState(
        at=moment(record, "at"),
        sha256=text_of(record.get("sha256")),
        checkouts=tuple(
            _checkout(str(path), found)
            for path, found in list(checkouts.items())[:MOST]
            if isinstance(found, dict)
        )
        if isinstance(checkouts, dict)
        else (),
        version=text_of(installed.get("version")) if isinstance(installed, dict) else "",
        diff=text_of(record.get("diff")),
    )


def _checkout(path: str, record: Mapping[str, Any]) -> Checkout:
    dirty, changed = record.get("dirty"), record.get("changed")
    names = changed[:MOST] if isinstance(changed, list) else []
    return Checkout(
        path=plain(path),
        commit=text_of(record.get("commit")),
        dirty=dirty if isinstance(dirty, bool) else None,
        changed=tuple(name for each in names if (name := text_of(each))),
    )


def _changed(state: CodeState) -> str:
    names = [name for checkout in state.checkouts for name in checkout.changed]
    return listed(names, most=_SHOWN_FILES) if names else NONE
