"""Prints the findings of a check for people."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

from launcher.preflight.check import CheckReport
from launcher.preflight.findings import Level
from launcher.text.counted import counted

_STYLES: dict[Level, str] = {
    "error": "bold red",
    "warning": "yellow",
    "note": "cyan",
    "ok": "green",
}
_MARGIN = " " * 9


def show_report(report: CheckReport, arguments: str, console: Console) -> None:
    """Print each finding with its field and line, then the next command.

    Args:
        report: what was found.
        arguments: the arguments of `check` as they were typed; `submit` takes the same ones.
        console: where to print; on a terminal, lines are wrapped.
    """
    for finding in report.findings:
        head = Text(f"{finding.level:<9}", style=_STYLES[finding.level])
        message = finding.message
        if finding.level == "ok":
            message = f"{finding.check}: {message}"
        elif finding.field:
            head.append(f"{finding.field} ({report.places.describe(finding.field)})", "bold")
            console.print(head, soft_wrap=True, highlight=False)
            head = Text(_MARGIN)
        width = console.width if console.is_terminal else 10**6
        for line in textwrap.wrap(message, max(30, width - len(_MARGIN)), break_on_hyphens=False):
            head.append(line, "")
            console.print(head, soft_wrap=True, highlight=False)
            head = Text(_MARGIN)
    faults = sum(each.level == "error" for each in report.findings)
    if faults:
        verdict, command = f"{counted(faults, 'error')}: fix, then check again", "check"
    else:
        verdict, command = "no error; next", "submit"
    console.print(
        Text(f"{verdict}: ptycho-launch {command} {arguments}"), soft_wrap=True, highlight=False
    )
