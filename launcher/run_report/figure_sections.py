"""The sections of the report of a run that show drawings and pictures."""

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
"""Of the time of the slowest rank: what the others may wait for it without a word."""


def loss_section(facts: RunFacts) -> Section:
    """Loss by epoch, across attempts."""
    drawn = draw_losses(facts.epochs, _boundaries(facts))
    if drawn is None:
        text = "No epoch was done." if not facts.alive else "No epoch is done yet."
        return Section("Loss", [Text("No finite loss is recorded." if facts.epochs else text)])
    lost = [epoch for epoch in facts.epochs if epoch.standing == "given_up"]
    open_ones = [epoch for epoch in facts.epochs if epoch.standing == "open"]
    caption = "Mean over the samples of each epoch, all ranks."
    if len(facts.attempts) > 1:
        caption += " Dashed verticals: where an attempt took up the training."
    if lost:
        caption += (
            f" Dotted, with crosses: {counted(len(lost), 'epoch')} that ended behind the "
            "checkpoint from which the next attempt went on; the weights hold nothing of them."
        )
        if _all_came_again(facts):
            caption += " Done again, they gave the same losses, bit for bit."
    if open_ones:
        caption += f" Of {counted(len(open_ones), 'epoch')} no checkpoint is committed yet."
    if facts.proof is None:
        caption += " Which epochs are in the weights is not proven."
    known = [epoch for epoch in facts.epochs if epoch.standing != "given_up"]
    words = "No epoch of the committed lineage."
    if known:
        first, last = known[0], max(known, key=lambda epoch: epoch.epoch)
        words = (
            f"Training loss from {_loss(first.train_loss)} (epochs done: {first.epoch + 1}) to "
            f"{_loss(last.train_loss)} (epochs done: {last.epoch + 1}); validation loss from "
            f"{_loss(first.val_loss)} to {_loss(last.val_loss)}."
        )
    return Section("Loss", [Figure(drawn, caption, words)])


def _all_came_again(facts: RunFacts) -> bool:
    """Whether every epoch that was given up was done again, with equal losses."""
    kept = {e.epoch: (e.train_loss, e.val_loss) for e in facts.epochs if e.standing == "committed"}
    lost = [epoch for epoch in facts.epochs if epoch.standing == "given_up"]
    return all(kept.get(e.epoch) == (e.train_loss, e.val_loss) for e in lost)


def _boundaries(facts: RunFacts) -> dict[int, float]:
    """Attempt → epochs that were done when it began; the first one begins at none."""
    per_epoch = facts.world.get("steps_per_epoch", 0)
    if not per_epoch:
        return {}
    return {
        each.attempt: each.from_step / per_epoch
        for each in facts.attempts
        if each.from_step and each.training_from is not None
    }


def _loss(value: float | None) -> str:
    return "nothing recorded" if value is None else f"{value:.4g}"


def pictures_section(facts: RunFacts) -> Section:
    """The object, and what became of it epoch by epoch."""
    blocks: list[Block] = []
    final = [picture for picture in facts.pictures if picture.epoch is None]
    if final:
        caption = "The object after the last epoch, as it was delivered."
        blocks.append(Picture(final[0].png, caption, caption))
    if facts.scores:
        rows = [(each.name, _score(each.found), _score(each.flat)) for each in facts.scores]
        caption = f"Scores of the final object (truth: {facts.truth or 'not said'})"
        blocks.append(DataTable(("score", "found", "flat guess"), rows, caption))
    for kind, words in (
        ("object", "Object, stitched over all ranks"),
        ("patches", "Patches of some samples"),
    ):
        for picture in facts.pictures:
            if picture.epoch is not None and picture.kind == kind:
                caption = f"{words}, after {picture.epoch + 1} epochs ({picture.file})"
                blocks.append(Picture(picture.png, caption, caption, beside=True))
    return Section("Reconstructions", blocks)


def _score(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def throughput_section(facts: RunFacts) -> Section:
    """Rates of the ranks, and which one the others wait for."""
    rates = facts.throughput
    if rates is None:
        return Section("Throughput", [])
    blocks: list[Block] = []
    drawn = draw_throughput(rates)
    if not rates.measured:
        known = (
            "What follows is by the epoch, validation, checkpoints and pictures included, of all "
            "ranks together."
            if rates.attempts
            else "No epoch was timed either."
        )
        blocks.append(Text(f"This run has no step times: older runs do not write them. {known}"))
    if drawn is not None:
        middle = [rate for each in rates.attempts for rate in each.middle if rate is not None]
        typical = sorted(middle)[len(middle) // 2] if middle else 0.0
        unit = "samples/s of a rank" if rates.measured else "patterns/s of all ranks"
        caption = (
            "Checkpoints and validation left out. The ranks go in step: each shows the pace of the "
            "slowest."
            if rates.measured
            else "One point an epoch."
        )
        if len(rates.attempts) > 1:
            caption += " Dashed verticals: the next attempt."
        blocks.append(Figure(drawn, caption, f"{unit} over time, about {typical:.4g}."))
    slow = rates.slowest
    if slow is not None and rates.others_own_s is not None:
        waiting = max(0.0, slow.own_s - rates.others_own_s) / (slow.own_s or 1.0)
        verdict = (
            f"The others wait for it, {percent(waiting)} of its time."
            if waiting >= NOTICEABLE
            else "No rank holds up the others."
        )
        where = f" on {slow.node}" if slow.node else ""
        own, others = milliseconds(slow.own_s), milliseconds(rates.others_own_s)
        blocks.append(
            Text(
                f"Most work of its own has rank {slow.rank}{where}: {own} ms a step, the median of "
                f"the others {others} ms. {verdict}"
            )
        )
    if rates.last_words:
        rows = [(str(rank), f"{rate:.4g}") for rank, rate in sorted(rates.last_words.items())]
        caption = "Last rate that each rank told of"
        blocks.append(DataTable(("rank", "patterns/s"), rows[:MOST_TABLE_ROWS], caption))
    return Section("Throughput", blocks)


def parts_section(facts: RunFacts) -> Section:
    """Where the time of a step went."""
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
            "Mean over the ranks, all steps of an attempt; the parts add up to its wall time.",
            f"In attempt {last} the largest part of a step was {STEP_PARTS[largest].name}.",
        ),
        DataTable(("part", "ms per step", "share", "what it is"), rows, caption),
    ]
    by_rank = draw_parts_by_rank(attribution) if attribution.ranks > 1 else None
    if by_rank is not None:
        words = f"The same by rank, attempt {last}."
        if attribution.ranks > MOST_ROWS:
            words += f" The {MOST_ROWS} ranks that waited least for others, of {attribution.ranks}."
        blocks.append(Figure(by_rank, words, words))
    return Section(heading, blocks)


def timeline_section(facts: RunFacts) -> Section:
    """The attempts one below the other, and what each began and ended with."""
    if not facts.attempts:
        return Section("Attempts", [Text("No attempt has begun yet.")])
    blocks: list[Block] = []
    drawn = draw_timeline(facts.attempts)
    if drawn is not None:
        caption = "Zero is the start of each attempt; to the left what it waited for before that."
        if len(facts.attempts) > MOST_ROWS:
            caption += f" The latest {MOST_ROWS} of {len(facts.attempts)} attempts."
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
    heads = ("attempt", "started", "how", "from step", "to step", "steps kept", "ended")
    blocks.append(
        DataTable(
            heads,
            rows,
            "How each began and ended; steps kept: those that are in the committed weights",
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
        *("attempt", "idle", "queued", "start-up", "training"),
        *("of it checkpoints", "reconstruction, leaving"),
    )
    words = (
        "Seconds; idle: until somebody asked for the attempt; queued: from then, or from the end "
        "that it was to follow by itself, to its start"
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
        words = "Seconds of the start-up, of the slowest rank each"
        blocks.append(DataTable(columns, began, words))
    return Section("Attempts", blocks)


def _from(each: AttemptSpan) -> str:
    return f"{each.from_step}" + (f" of attempt {each.of_attempt}" if each.of_attempt else "")


def _told(each: AttemptSpan) -> str:
    took = "unknown time" if each.seconds is None else duration(each.seconds)
    return f"attempt {each.attempt}: {took}, {each.cause or 'no end recorded'}"
