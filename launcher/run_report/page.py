"""The page of a run: first its state and the reason for it, then figures, then records."""

from __future__ import annotations

import os

from launcher.pages.page import Block, Caution, DataTable, Page, Section, Text
from launcher.pages.words import date, percent, table_of, took
from launcher.run_report.facts import RunFacts
from launcher.run_report.figure_sections import (
    loss_section,
    parts_section,
    pictures_section,
    throughput_section,
    timeline_section,
)
from launcher.run_report.record_sections import (
    changes_section,
    goodput_section,
    ledger_section,
    left_out_section,
    provenance_section,
    repeat_section,
)
from launcher.status.proof_lines import proof_lines
from launcher.text.counted import counted
from launcher.text.redact import Redactor

_MOST_EVIDENCE = 12
_SAID = {"recorded": "recorded", "read": "read from the logs", "guessed": "a guess"}


def page_of(facts: RunFacts) -> Page:
    """The page of a run."""
    sections = [
        _cause(facts),
        _glance(facts),
        loss_section(facts),
        pictures_section(facts),
        throughput_section(facts),
        parts_section(facts),
        timeline_section(facts),
        goodput_section(facts),
        ledger_section(facts),
        changes_section(facts),
        provenance_section(facts),
        repeat_section(facts),
        left_out_section(facts),
    ]
    return Page(
        title=facts.run_id,
        subtitle=f"Report of one run, read {date(facts.read_at)} from {facts.path}",
        sections=[section for section in sections if section.blocks],
    )


def _cause(facts: RunFacts) -> Section:
    why = facts.explanation
    if why is None:
        return Section("Why it ended", [])
    attempt = f" in attempt {why.attempt} of {why.attempts}" if why.attempt else ""
    said = f"{_SAID[why.confidence]}: {why.cause}"
    blocks: list[Block] = [Caution(f"{why.state.capitalize()}{attempt}: {why.summary} ({said}).")]
    if why.how is not None and why.first_rank is not None and not why.together:
        at = "" if why.step is None else f" at step {why.step}"
        blocks.append(Text(f"Rank {why.first_rank}{at}: {why.how}."))
    if why.evidence:
        hide = Redactor(os.environ).text  # the page is shared, and a log may hold secrets
        rows = [(line.where, hide(line.text)) for line in why.evidence[:_MOST_EVIDENCE]]
        blocks.append(DataTable(("source", "text"), rows, "Evidence"))
    if why.advice:
        blocks.append(DataTable(("advice",), [(advice,) for advice in why.advice]))
    if why.what_followed:
        blocks.append(Text(f"Afterwards: {why.what_followed}."))
    return Section("Why it ended", blocks)


def _glance(facts: RunFacts) -> Section:
    blocks: list[Block] = []
    status = facts.status
    if facts.alive and status is not None:
        blocks.append(
            Caution(
                f"This run is not over: it is {status.state} ({status.cause}). All figures are as "
                f"of {date(facts.read_at)}."
            )
        )
    if facts.left_out:
        blocks.append(
            Caution(
                f"{counted(len(facts.left_out), 'part')} of the run directory could not be read "
                "and are left out; the last section lists them."
            )
        )
    more = f": {status.cause}" if status is not None and facts.explanation is None else ""
    rows = [("state", f"{facts.state}{more}")]
    rows += _progress(facts)
    rows += _speed(facts)
    proof = proof_lines(facts.proof)[-1] if facts.proof is not None else facts.no_proof
    rows.append(("ledger", proof))
    blocks.append(table_of(rows))
    return Section("At a glance", blocks)


def _progress(facts: RunFacts) -> list[tuple[str, str]]:
    rows = []
    kept = [epoch for epoch in facts.epochs if epoch.standing != "given_up"]
    planned = facts.world.get("epochs")
    last = max(kept, key=lambda epoch: epoch.epoch, default=None)
    if last is not None:
        of = f" of {planned}" if planned else ""
        rows.append(("epochs completed", f"{last.epoch + 1}{of}, {last.step} optimizer steps"))
        figures = (("training loss", last.train_loss), ("validation loss", last.val_loss))
        rows += [(f"last {name}", f"{value:.5g}") for name, value in figures if value is not None]
        best = [epoch for epoch in kept if epoch.val_loss is not None]
        if best:
            lowest = min(best, key=lambda epoch: epoch.val_loss or 0.0)
            words = f"{lowest.val_loss:.5g}, after {lowest.epoch + 1} epochs"
            rows.append(("lowest validation loss", words))
    scores = [s for s in facts.scores if s.found is not None]
    if scores:
        text = ", ".join(f"{score.name} {score.found:.4g}" for score in scores[:3])
        rows.append(("final object", text))
    return rows


def _speed(facts: RunFacts) -> list[tuple[str, str]]:
    rows = []
    ranks = facts.world.get("ranks")
    last = max(facts.parts, default=None)
    if last is not None and ranks:
        rate = facts.parts[last].samples_per_s
        rows.append(
            ("samples/s", f"{rate:.4g}, {counted(facts.parts[last].ranks, 'rank')} in total")
        )
    if ranks:
        threads = facts.world.get("threads_per_rank")
        nodes = len(facts.attempts[-1].nodes) if facts.attempts else 0
        on = f" on {counted(nodes, 'node')}" if nodes else ""
        each = f", {counted(threads, 'thread')} each" if threads else ""
        rows.append(("ranks", f"{ranks}{on}{each}"))
    if facts.attempts:
        spent = sum(each.seconds or 0.0 for each in facts.attempts)
        rows.append(("attempts", f"{len(facts.attempts)}, {took(spent)} in total"))
    if facts.goodput is not None:
        rows.append(
            ("goodput", f"{percent(facts.goodput.of_attempts)} of the time of all attempts")
        )
    return rows
