"""`ptycho-launch scale report` and `ptycho-launch scale compare`."""

from __future__ import annotations

import argparse
import json

from ptycho_dist.errors import UserError


def report(options: argparse.Namespace) -> int:
    """Write the report of the study that `options.words` names, and say where it is."""
    from rich.markup import escape

    from launcher.plain_text import plain
    from launcher.scaling.analysis import analyse
    from launcher.scaling.collect import collect
    from launcher.scaling.report.write import write_report
    from launcher.scaling.study_json import find_study
    from launcher.terminal import console

    (reference,) = _studies(options, 1, "scale report STUDY")
    deadline_s = _deadline_s(options.deadline)
    study_dir = find_study(options.runs_dir, reference).path
    collected = collect(study_dir)
    written = write_report(study_dir, collected, analyse(collected, deadline_s=deadline_s))
    if options.json:
        print(json.dumps({"report": str(written.page), **written.data}, indent=2))
        return 0
    screen = console()
    for said in (written.finding, *(f"warning: {warning}" for warning in written.warnings)):
        screen.print(escape(plain(said)), soft_wrap=True)
    screen.print(escape(f"report: {written.page}"), soft_wrap=True)
    return 0


def _studies(options: argparse.Namespace, count: int, usage: str) -> list[str]:
    words: list[str] = list(options.words)
    if len(words) != count:
        raise UserError(f"ptycho-launch {usage} is expected, found {len(words)} names")
    return words


def _deadline_s(text: str | None) -> int | None:
    from launcher.slurm_units import duration_s

    if text is None:
        return None
    found = duration_s(text)
    if found is None:
        raise UserError(f"--deadline: a time such as 12:00:00 is expected, found {text[:40]!r}")
    return found
