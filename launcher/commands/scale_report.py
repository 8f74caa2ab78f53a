"""`ptycho-launch scale report` and `ptycho-launch scale compare`, which `scale` calls.

`options.words` begins with the word `report` or `compare`; what names studies follows.
"""

from __future__ import annotations

import argparse
import json

from ptycho_dist.errors import UserError


def report(options: argparse.Namespace) -> int:
    """Write the report of a study, and say what was found and where it is."""
    from rich.markup import escape

    from launcher.control.submission import settle
    from launcher.scaling.analysis.analyse import analyse
    from launcher.scaling.collect import collect
    from launcher.scaling.report.write import write_report
    from launcher.scaling.study.study_json import find_study
    from launcher.slurm.jobs import Scheduler
    from launcher.text.console import console
    from launcher.text.plain_text import plain

    (reference,) = _studies(options, 1, "one study")
    deadline_s = _deadline_s(options.deadline)
    study, scheduler = find_study(options.runs_dir, reference), Scheduler(every_s=60)
    settle([study], scheduler)
    collected = collect(study, scheduler)
    written = write_report(study.path, collected, analyse(collected, deadline_s=deadline_s))
    if options.json:
        print(json.dumps({"report": str(written.page), **written.data}, indent=2))
        return 0
    screen = console()
    for said in (written.finding, *(f"warning: {warning}" for warning in written.warnings)):
        screen.print(escape(plain(said)), soft_wrap=True)
    screen.print(escape(f"report: {plain(str(written.page))}"), soft_wrap=True)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Print two studies beside each other; nothing is written."""
    from launcher.scaling.analysis.comparison import compare_sizes
    from launcher.scaling.collect import collect
    from launcher.scaling.report.files import finite
    from launcher.scaling.report.present_comparison import show_comparison
    from launcher.scaling.study.study_json import find_study
    from launcher.text.console import console

    if options.deadline is not None:
        raise UserError("--deadline: belongs to `scale report STUDY`")
    before, after = (
        find_study(options.runs_dir, word) for word in _studies(options, 2, "two studies")
    )
    comparison = compare_sizes(collect(before), collect(after))
    if options.json:
        named = {"before": before.array_id, "after": after.array_id}
        print(json.dumps({"format": 1, **named, **finite(comparison.to_json())}, indent=2))
    else:
        show_comparison(comparison, before.array_id, after.array_id, console())
    return 0


def _studies(options: argparse.Namespace, count: int, usage: str) -> list[str]:
    action, *names = options.words
    if len(names) != count:
        raise UserError(f"scale {action}: {usage} expected, found {' '.join(names) or 'nothing'}")
    return list(names)


def _deadline_s(text: str | None) -> int | None:
    from launcher.slurm.units import duration_s

    if text is None:
        return None
    found = duration_s(text)
    if found is None:
        raise UserError(f"--deadline: a time such as 12:00:00 is expected, found {text[:40]!r}")
    return found
