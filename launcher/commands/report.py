"""`ptycho-launch report`: one run on one page."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import speaks_json, takes_run, writes_file

SUMMARY = "write a page of HTML about a run: loss, pictures, speed, attempts, proof"
EXAMPLE = "ptycho-launch report fly64-20260714-101500-3f9a --output fly64.html"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN and where the page is written."""
    takes_run(command)
    writes_file(command, "report.html in the run directory")
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Write the page and print its path; with `--json` print the facts and write nothing."""
    from launcher.commands.which_run import one_run
    from launcher.control.submission import settle
    from launcher.run_report.facts import read_run_facts
    from launcher.slurm.jobs import Scheduler

    found, scheduler = one_run(options.runs_dir, options.run), Scheduler(every_s=60)
    settle([found], scheduler)
    facts = read_run_facts(found, scheduler)
    if options.json:
        print(json.dumps(facts.to_json(), indent=2, allow_nan=False))
        return 0
    from launcher.run_report.write import write_run_report
    from launcher.text.plain_text import plain

    place = options.output or found.path / "report.html"
    write_run_report(facts, place)
    print(plain(str(place)))
    return 0
