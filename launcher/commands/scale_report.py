"""`ptycho-launch scale report` and `ptycho-launch scale compare`, called by `scale`.

`options.words` begins with `report` or `compare`; the names of studies follow.
"""

from __future__ import annotations

import argparse
import json

from ptycho_dist.errors import UserError


def report(options: argparse.Namespace) -> int:
    """Write the report of a study; print what was found, and where the report is."""
    from rich.markup import escape

    from launcher.commands import which_run
    from launcher.control.submission import settle
    from launcher.scaling.analysis.analyse import analyse
    from launcher.scaling.collect import collect
    from launcher.scaling.report.write import write_study_report
    from launcher.slurm.jobs import Scheduler
    from launcher.text.console import console
    from launcher.text.plain_text import plain

    names = options.words[1:]
    if len(names) > 1:
        raise UserError(f"scale report: at most one study is expected, found {' '.join(names)}")
    deadline_s = _deadline_s(options.deadline)
    study = which_run.study(options.runs_dir, names[0] if names else None)
    scheduler = Scheduler(every_s=60)
    settle([study], scheduler)
    collected = collect(study, scheduler)
    written = write_study_report(study.path, collected, analyse(collected, deadline_s=deadline_s))
    if options.json:
        found = {"array_id": study.array_id, "report": str(written.page)}
        print(json.dumps({**found, **written.data}, indent=2))
        return 0
    screen = console()
    for said in (written.finding, *(f"warning: {warning}" for warning in written.warnings)):
        screen.print(escape(plain(said)), soft_wrap=True)
    screen.print(escape(f"report: {plain(str(written.page))}"), soft_wrap=True)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Print two studies side by side; nothing is written."""
    from launcher.commands import which_run
    from launcher.scaling.analysis.comparison import compare_sizes
    from launcher.scaling.collect import collect
    from launcher.scaling.report.files import finite_or_null
    from launcher.scaling.report.present_comparison import show_comparison
    from launcher.text.console import console

    if options.deadline is not None:
        raise UserError("--deadline belongs to `scale report`, not to `scale compare`")
    names = options.words[1:]
    if len(names) != 2:
        raise UserError(
            f"scale compare: two studies are expected, found {' '.join(names) or 'none'}"
        )
    before, after = (which_run.study(options.runs_dir, name) for name in names)
    comparison = compare_sizes(collect(before), collect(after))
    if options.json:
        named = {"before": before.array_id, "after": after.array_id}
        print(json.dumps({"format": 1, **named, **finite_or_null(comparison.to_json())}, indent=2))
    else:
        show_comparison(comparison, before.array_id, after.array_id, console())
    return 0


def _deadline_s(text: str | None) -> int | None:
    from launcher.slurm.units import duration_s

    if text is None:
        return None
    found = duration_s(text)
    if found is None:
        raise UserError(f"--deadline: expected a time such as 12:00:00, found {text[:40]!r}")
    return found
