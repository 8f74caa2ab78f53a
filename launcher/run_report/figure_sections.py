"""The sections of a run's report that show figures and pictures."""

from __future__ import annotations

from launcher.pages.page import Block, DataTable, Figure, Picture, Section, Text
from launcher.pages.words import NONE, date, milliseconds, percent, seconds
from launcher.run_report.attempts import AttemptSpan
from launcher.run_report.facts import RunFacts
from launcher.run_report.figures import (
    MOST_ROWS,
    draw_losses,
    draw_parts,
    draw_parts_by_rank,
    draw_throughput,
    draw_timeline,
)
from launcher.text.counted import counted
from launcher.text.durations import duration
from launcher.timing.attribution import PARTS, STEP_PARTS
from launcher.timing.start_up import STAGE_NAMES, STAGES

MOST_TABLE_ROWS = 200
NOTICEABLE = 0.05
"""Fraction of a step that the others must wait for the slowest rank to be reported."""


def loss_section(facts: RunFacts) -> Section:
    """The loss over the epochs, across attempts."""
    drawn = draw_losses(facts.epochs, _boundaries(facts))
    if drawn is None:
        text = "No epoch is complete yet." if facts.alive else "No epoch was completed."
        return Section("Loss", [Text("No finite loss was recorded." if facts.epochs else text)])
    lost = [epoch for epoch in facts.epochs if epoch.standing == "given_up"]
    open_ones = [epoch for epoch in facts.epochs if epoch.standing == "open"]
    caption = "Mean over the samples of each epoch, all ranks."
    if len(facts.attempts) > 1:
        caption += " Dashed vertical lines: a new attempt continued the training."
    if lost:
        caption += (
            f" Dotted, with crosses: {counted(len(lost), 'epoch')} completed after the "
            "checkpoint from which the next attempt continued; the weights do not include this "
            "work."
        )
        if _all_came_again(facts):
            caption += " When repeated, these epochs gave bitwise identical losses."
    if open_ones:
        caption += (
            f" Not yet covered by a committed checkpoint: {counted(len(open_ones), 'epoch')}."
        )
    if facts.proof is None:
        caption += " It is not proven which epochs are in the weights."
    known = [epoch for epoch in facts.epochs if epoch.standing != "given_up"]
    words = "No epoch belongs to the committed lineage."
    if known:
        first, last = known[0], max(known, key=lambda epoch: epoch.epoch)
        words = (
            f"Training loss from {_loss(first.train_loss)} after epoch {first.epoch + 1} to "
            f"{_loss(last.train_loss)} after epoch {last.epoch + 1}; validation loss from "
            f"{_loss(first.val_loss)} to {_loss(last.val_loss)}."
        )
    return Section("Loss", [Figure(drawn, caption, words)])


def _all_came_again(facts: RunFacts) -> bool:
    """Whether every lost epoch was repeated with equal losses."""
    kept = {e.epoch: (e.train_loss, e.val_loss) for e in facts.epochs if e.standing == "committed"}
    lost = [epoch for epoch in facts.epochs if epoch.standing == "given_up"]
    return all(kept.get(e.epoch) == (e.train_loss, e.val_loss) for e in lost)


def _boundaries(facts: RunFacts) -> dict[int, float]:
    """Attempt → number of epochs completed when it began; the first attempt has no entry."""
    per_epoch = facts.world.get("steps_per_epoch", 0)
    if not per_epoch:
        return {}
    return {
        each.attempt: each.from_step / per_epoch
        for each in facts.attempts
        if each.from_step and each.training_from is not None
    }


def _loss(value: float | None) -> str:
    return "an unrecorded value" if value is None else f"{value:.4g}"


def pictures_section(facts: RunFacts) -> Section:
    """The reconstructed object, at the end and after some of the epochs."""
    blocks: list[Block] = []
    final = [picture for picture in facts.pictures if picture.epoch is None]
    if final:
        caption = "The final object, reconstructed after the last epoch."
        blocks.append(Picture(final[0].png, caption, caption))
    if facts.scores:
        rows = [(each.name, _score(each.found), _score(each.flat)) for each in facts.scores]
        caption = f"Scores of the final object (reference: {facts.truth or 'not recorded'})"
        blocks.append(DataTable(("score", "value", "flat guess"), rows, caption))
    for kind, words in (
        ("object", "Object stitched from all ranks"),
        ("patches", "Patches of selected samples"),
    ):
        for picture in facts.pictures:
            if picture.epoch is not None and picture.kind == kind:
                caption = f"{words}, after {picture.epoch + 1} epochs ({picture.file})"
                blocks.append(Picture(picture.png, caption, caption, beside=True))
    return Section("Reconstructions", blocks)


def _score(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def throughput_section(facts: RunFacts) -> Section:
    """The throughput of the ranks, and which rank the others wait for."""
    rates = facts.throughput
    if rates is None:
        return Section("Throughput", [])
    blocks: list[Block] = []
    drawn = draw_throughput(rates)
    if not rates.measured:
        known = (
            "The following rates are those of whole epochs, including validation, checkpoints and "
            "pictures, for all ranks together."
            if rates.attempts
            else "No epoch was timed either."
        )
        blocks.append(
            Text(f"This run has no step times (older versions did not record them). {known}")
        )
    if drawn is not None:
        middle = [rate for each in rates.attempts for rate in each.middle if rate is not None]
        typical = sorted(middle)[len(middle) // 2] if middle else 0.0
        unit = "Samples/s per rank" if rates.measured else "Patterns/s of all ranks"
        caption = (
            "Without checkpoints and validation. The ranks run in lockstep, so every rank shows "
            "the pace of the slowest."
            if rates.measured
            else "One point per epoch."
        )
        if len(rates.attempts) > 1:
            caption += " Dashed vertical lines: start of the next attempt."
        blocks.append(Figure(drawn, caption, f"{unit} over time, about {typical:.4g}."))
    slow = rates.slowest
    if slow is not None and rates.others_own_s is not None:
        waiting = max(0.0, slow.own_s - rates.others_own_s) / (slow.own_s or 1.0)
        verdict = (
            f"The other ranks wait for it during {percent(waiting)} of its step."
            if waiting >= NOTICEABLE
            else "No rank holds up the others."
        )
        where = f" on {slow.node}" if slow.node else ""
        own, others = milliseconds(slow.own_s), milliseconds(rates.others_own_s)
        blocks.append(
            Text(
                f"Rank {slow.rank}{where} needs the most time for its own work: {own} ms per step, "
                f"compared with {others} ms, the median of the other ranks. {verdict}"
            )
        )
    if rates.last_words:
        rows = [(str(rank), f"{rate:.4g}") for rank, rate in sorted(rates.last_words.items())]
        caption = "Last rate reported by each rank"
        blocks.append(DataTable(("rank", "patterns/s"), rows[:MOST_TABLE_ROWS], caption))
    return Section("Throughput", blocks)


def parts_section(facts: RunFacts) -> Section:
    """The parts of a step, over the attempts and over the ranks."""
    heading = "Where the time of a step went"
    drawn = draw_parts(facts.parts)
    if drawn is None:
        return Section(heading, [])
    last = max(facts.parts)
    attribution = facts.parts[last]
    wall_s = sum(attribution.parts_s.values()) or 1.0
    rows = [
        (
            STEP_PARTS[part].name,
            milliseconds(spent / max(1, attribution.steps)),
            percent(spent / wall_s),
            STEP_PARTS[part].meaning,
        )
        for part in PARTS
        if (spent := attribution.parts_s.get(part, 0.0)) > 0
    ]
    largest = max(attribution.parts_s, key=lambda part: attribution.parts_s[part])
    caption = f"Attempt {last}: {attribution.steps} steps of {counted(attribution.ranks, 'rank')}"
    blocks: list[Block] = [
        Figure(
            drawn,
            "Mean over the ranks and all steps of an attempt; the parts add up to the wall time.",
            f"In attempt {last} the largest part of a step was {STEP_PARTS[largest].name}.",
        ),
        DataTable(("part", "ms per step", "share", "meaning"), rows, caption),
    ]
    by_rank = draw_parts_by_rank(attribution) if attribution.ranks > 1 else None
    if by_rank is not None:
        words = f"Parts of a step by rank, attempt {last}."
        if attribution.ranks > MOST_ROWS:
            words += f" Only the {MOST_ROWS} of {attribution.ranks} ranks that waited least."
        blocks.append(Figure(by_rank, words, words))
    return Section(heading, blocks)


def timeline_section(facts: RunFacts) -> Section:
    """The attempts on a time axis, and how each began and ended."""
    if not facts.attempts:
        return Section("Attempts", [Text("No attempt has started yet.")])
    blocks: list[Block] = []
    drawn = draw_timeline(facts.attempts)
    if drawn is not None:
        caption = "Zero is the start of each attempt; to the left is the wait before it."
        if len(facts.attempts) > MOST_ROWS:
            caption += f" Shown are the latest {MOST_ROWS} of {len(facts.attempts)} attempts."
        words = "; ".join(_told(each) for each in facts.attempts[-MOST_ROWS:])
        blocks.append(Figure(drawn, caption, words))
    shown = facts.attempts[-MOST_TABLE_ROWS:]
    rows = [
        (
            str(each.attempt),
            date(each.started_at),
            each.begun,
            NONE if each.from_step is None else _from(each),
            NONE if each.reached_step is None else str(each.reached_step),
            NONE if each.kept_steps is None else str(each.kept_steps),
            "at work" if each.at_work else each.ended or NONE,
        )
        for each in shown
    ]
    heads = ("attempt", "started", "how", "from step", "to step", "steps kept", "end")
    blocks.append(
        DataTable(
            heads,
            rows,
            "Start and end of each attempt. Steps kept: steps that are in the committed weights.",
            marked=[
                place
                for place, each in enumerate(shown)
                if each.cause in ("crash", "node_fail", "mistake")
            ],
        )
    )
    spent = [
        (
            str(each.attempt),
            seconds(each.idle_s),
            seconds(each.waited_s),
            seconds(each.starting_s),
            seconds(each.training_s),
            seconds(each.checkpoint_s),
            seconds(each.after_s),
        )
        for each in shown
    ]
    heads = (
        "attempt",
        "idle",
        "waited",
        "start-up",
        "training",
        "of which checkpoints",
        "reconstruction, shutdown",
    )
    words = (
        "Seconds. Idle: from the end of the previous attempt until this one was requested. Waited: "
        "from the request (for an automatic restart: from that end) to the start. Start-up: until "
        "training began."
    )
    blocks.append(DataTable(heads, spent, words))
    start_up = [each for each in shown if each.start_up_s]
    if start_up:
        names = [name for name in STAGES if any(name in each.start_up_s for each in start_up)]
        began = [
            (str(each.attempt), *(seconds(each.start_up_s.get(name)) for name in names))
            for each in start_up
        ]
        columns = ("attempt", *(STAGE_NAMES[name] for name in names))
        words = "Start-up: seconds of the slowest rank in each stage."
        blocks.append(DataTable(columns, began, words))
    return Section("Attempts", blocks)


def _from(each: AttemptSpan) -> str:
    return f"{each.from_step}" + (f" of attempt {each.of_attempt}" if each.of_attempt else "")


def _told(each: AttemptSpan) -> str:
    took = "unknown duration" if each.seconds is None else duration(each.seconds)
    return f"attempt {each.attempt}: {took}, {each.cause or 'end not recorded'}"
