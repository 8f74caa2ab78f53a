"""The sections of a run's report that show its records: goodput, ledger, changes, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from launcher.pages.page import Block, Caution, Code, DataTable, Section, Text
from launcher.pages.words import NONE, date, percent, table_of, took
from launcher.provenance.code_states import code_table
from launcher.run_report.facts import RunFacts
from launcher.status.proof_lines import proof_lines
from launcher.text.counted import counted


def goodput_section(facts: RunFacts) -> Section:
    """The share of the time that went into steps that are in the weights."""
    found = facts.goodput
    if found is None:
        return Section("Goodput", [])
    how = (
        "Goodput is the time of the optimizer steps that are in the committed weights, divided by "
        "the time of all attempts. Start-up, validation, writing checkpoints, and steps that were "
        "lost do not count as useful."
        if found.measured
        else "No step times were recorded for this run. The useful time is that from the beginning "
        "of training to the last commit of each attempt in the lineage, without writing "
        "checkpoints; unlike elsewhere, validation counts as useful."
    )
    if found.unwritten_steps:
        how += (
            f" The times of {counted(found.unwritten_steps, 'step')} are missing because a rank "
            "was killed before it wrote them; these count with the mean of their attempt."
        )
    rows = [
        ("useful steps", took(found.useful_s), ""),
        ("all attempts", took(found.attempts_s), percent(found.of_attempts)),
        ("first start to last end", took(found.elapsed_s), percent(found.of_elapsed)),
    ]
    return Section(
        "Goodput",
        [Text(how), DataTable(("time of", "wall-clock time", "useful share"), rows)],
    )


def ledger_section(facts: RunFacts) -> Section:
    """What the ledger proves, and the checkpoints that were committed."""
    proof = facts.proof
    if proof is None:
        return Section("Ledger", [Text(f"No proof: {facts.no_proof}."), *_commits(facts)])
    lines = proof_lines(proof)
    blocks: list[Block] = [Text(f"{lines[-1][:1].upper()}{lines[-1][1:]}.")]
    if proof.faults:
        blocks = [Caution(f"The ledger does not prove it: {proof.faults[0]}")]
        blocks.append(DataTable(("fault",), [(fault,) for fault in proof.faults]))
    used = proof.whole_epochs * proof.samples + proof.cursor
    rows = [
        ("samples used for the weights", str(used)),
        ("samples used in vain (lost by a kill or a damaged checkpoint)", str(proof.given_up)),
    ]
    blocks.append(table_of(rows))
    parts = [
        (f"attempt {part.attempt}", str(part.from_step), str(part.to_step))
        for part in proof.lineage
    ]
    caption = "Lineage of the committed weights"
    blocks.append(DataTable(("attempt", "from step", "to step"), parts, caption))
    return Section("Ledger", [*blocks, *_commits(facts)])


def _commits(facts: RunFacts) -> Sequence[Block]:
    blocks: list[Block] = []
    rows = []
    for each in facts.attempts:
        spent = [c.seconds for c in each.checkpoints if c.seconds is not None]
        rows.append(
            (
                str(each.attempt),
                str(len(each.checkpoints)),
                f"{sum(spent):.2f}" if spent else NONE,
                f"{max(spent):.2f}" if spent else NONE,
                str(len(each.failed_checkpoints)),
                _stop(each.cause, each.ended),
            )
        )
    if rows:
        blocks.append(
            DataTable(
                ("attempt", "committed", "total, s", "longest, s", "failed", "stopped by"),
                rows,
                "Checkpoints and stops",
                marked=[place for place, row in enumerate(rows) if row[4] != "0"],
            )
        )
    failed = [
        (f"attempt {each.attempt}", words) for each in facts.attempts
        for words in each.failed_checkpoints
    ]  # fmt: skip
    if failed:
        blocks.append(DataTable(("attempt", "failed checkpoint"), failed))
    return blocks


def _stop(cause: str, ended: str) -> str:
    return ended if cause in ("timeout", "preempt", "cancelled") else NONE


def changes_section(facts: RunFacts) -> Section:
    """What `resume` changed between submissions."""
    made = facts.provenance
    blocks: list[Block] = []
    if made.changes:
        rows = [(date(each.at), each.field, each.words) for each in made.changes]
        blocks.append(DataTable(("resumed", "field", "before → after"), rows, "Config"))
    elif len(facts.attempts) > 1:
        blocks.append(Text("No value of the config was changed between attempts."))
    if made.resized:
        blocks.append(
            Text("The number of ranks or threads was changed, so the weights are not bitwise equal "
                 "to those of an uninterrupted run.")
        )  # fmt: skip
    codes = [each.sha256 for each in made.code]
    if len(set(codes)) > 1:
        blocks.append(Caution("The submissions used different states of the code."))
    return Section("Changes between submissions", blocks)


def provenance_section(facts: RunFacts) -> Section:
    """The provenance of the run."""
    made = facts.provenance
    rows = [("run directory", facts.path), ("SHA-256 of the config", made.config_sha256 or NONE)]
    if made.created_at is not None:
        rows.append(("created", date(made.created_at)))
    rows += [(name.replace("_", " "), file) for name, file in made.data.items()]
    rows += [("ran as", words) for words in made.devices]
    blocks: list[Block] = [table_of(rows)]
    if made.code:
        blocks.append(code_table(made.code))
    if made.software:
        blocks.append(
            DataTable(
                ("package or variable", "version or value"),
                list(made.software.items()),
                "Software of rank 0",
            )
        )
    jobs = [
        (str(a.attempt), f"{a.cluster} {a.job_id}", ", ".join(_folded(a.nodes)))
        for a in facts.attempts
    ]
    if jobs:
        blocks.append(DataTable(("attempt", "job", "nodes"), jobs, "Jobs and nodes"))
    return Section("Provenance", blocks)


def _folded(nodes: Sequence[str]) -> list[str]:
    return [*nodes[:16], f"and {len(nodes) - 16} more"] if len(nodes) > 16 else list(nodes)


def repeat_section(facts: RunFacts) -> Section:
    """The commands that repeat the run."""
    commands = facts.provenance.repeat
    if not commands:
        return Section("How to repeat this run", [])
    return Section(
        "How to repeat this run",
        [
            Text(
                "Paths are those of the machine on which this report was made. "
                + (
                    "The number of ranks or threads was changed during the run: a repetition also "
                    "uses each sample once per epoch, but its weights will not be bitwise equal."
                    if facts.provenance.resized
                    else "The same config, data, ranks, threads and kind of device give bitwise "
                    "equal weights, whether or not the run is interrupted."
                )
            ),
            Code("\n".join(commands)),
            Code(f"ptycho-launch report {shlex.quote(facts.path)}"),
        ],
    )  # fmt: skip


def left_out_section(facts: RunFacts) -> Section:
    """What could not be read, and why."""
    rows = [(note,) for note in facts.left_out]
    return Section("Left out", [DataTable(("what was left out, and why",), rows)] if rows else [])
