"""What limits a series, in words, from the parts of a step.

With perfect scaling each part of a step of the largest size would take what it takes at the
smallest, times p0/p in strong mode (the same samples over more ranks), times 1 in weak mode. What
it takes beyond is lost to that part; over all parts it is what the step loses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from launcher.scaling.analysis.results import Measurement, Size
from launcher.scaling.analysis.sizes import named, size_name
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted
from launcher.timing.attribution import STEP_PARTS

NOTICEABLE = 0.02
"""The least part of the largest size's step that is worth a sentence."""
_TRY = {
    "data": "more loader processes (execution.num_workers), or the data on the nodes' own disks "
    "(data.stage_to).",
    "communication": "a larger batch per rank, more micro-batches between two reductions "
    "(execution.accum_steps), or faster links between the nodes.",
    "optimizer": "a larger global batch: each rank does the whole update, so fewer updates per "
    "sample are what helps.",
    "checkpoint": "checkpoints less often (execution.checkpoint_every_n_steps, "
    "checkpoint_every_s).",
    "validation": "a smaller validation set, or pictures less often "
    "(execution.recon_log_every_n_epochs).",
    "framework": "a larger batch per rank: this part is paid once a step, whatever its size.",
}
_TRY_COMPUTING: dict[Mode, str] = {
    "strong": "a larger global batch (the batch of a rank gets too small to keep it busy), or "
    "fewer ranks per node if they share cores or memory bandwidth.",
    "weak": "fewer ranks per node, or more cores for each (resources.cpus_per_task): the same work "
    "takes a rank longer, so ranks share cores or memory bandwidth.",
}


def limits(mode: Mode, sizes: Sequence[Size], largest: Sequence[Measurement]) -> tuple[str, ...]:
    """Sentences, the most important first.

    Args:
        mode: of the series.
        sizes: by ranks.
        largest: the repeats of the last one.
    """
    said = _oversubscription(sizes)
    if len(sizes) < 2:
        return (*said, "One size was measured: there is nothing to compare its parts with.")
    first, last = sizes[0], sizes[-1]
    step = sum(last.parts_s.values())
    lost = lost_s(mode, first, last)
    total = sum(lost.values())
    heading = (
        f"A step of {size_name(last)} takes {_ms(step)}, {_ms(abs(total))} "
        f"{'more' if total > 0 else 'less'} than with perfect scaling from {size_name(first)}."
    )
    found = sorted(
        (part for part in lost if step > 0 and lost[part] >= NOTICEABLE * step),
        key=lambda part: -lost[part],
    )
    if not found:
        return (*said, f"{heading} No part of it loses {NOTICEABLE:.0%} of a step or more.")
    sentences = [_sentence(mode, part, first, last, lost[part], largest) for part in found]
    return (*said, heading, *sentences)


def lost_s(mode: Mode, first: Size, last: Size) -> dict[str, float]:
    """Seconds per step that each part takes at `last` beyond perfect scaling from `first`."""
    ideal = first.ranks / last.ranks if mode == "strong" else 1.0
    names = dict.fromkeys((*first.parts_s, *last.parts_s))
    return {
        name: last.parts_s.get(name, 0.0) - ideal * first.parts_s.get(name, 0.0) for name in names
    }


def _oversubscription(sizes: Sequence[Size]) -> tuple[str, ...]:
    over = [size_name(size) for size in sizes if size.oversubscribed]
    if not over:
        return ()
    return (
        f"The cores of the machine: {named(over)} computed with more threads than it has. What "
        "follows describes that machine, not how the training scales.",
    )


def _sentence(
    mode: Mode,
    part: str,
    first: Size,
    last: Size,
    lost: float,
    largest: Sequence[Measurement],
) -> str:
    before, after = first.parts_s.get(part, 0.0), last.parts_s.get(part, 0.0)
    shares = [
        value / sum(size.parts_s.values()) if sum(size.parts_s.values()) > 0 else 0.0
        for size, value in ((first, before), (last, after))
    ]
    name = STEP_PARTS[part].name if part in STEP_PARTS else part
    text = (
        f"{name[0].upper()}{name[1:]} loses {_ms(lost)} a step: {_ms(before)} "
        f"({shares[0]:.0%} of a step) with {counted(first.ranks, 'rank')}, {_ms(after)} "
        f"({shares[1]:.0%}) with {counted(last.ranks, 'rank')}."
    )
    if part == "straggler":
        return f"{text} {_who_is_slow(largest)}"
    return f"{text} Try {_TRY.get(part) or _TRY_COMPUTING[mode]}"


def _who_is_slow(repeats: Sequence[Measurement]) -> str:
    """The rank that the others wait for waits least itself."""
    slowest = [
        min(ranks, key=lambda rank: (ranks[rank].get("straggler", 0.0), rank))
        for repeat in repeats
        if len(ranks := repeat.attribution.by_rank_s) > 1
    ]
    if not slowest:
        return "Which rank is slow was not recorded."
    (rank, times), *others = Counter(slowest).most_common()
    if not others and times > 1:
        return (
            f"Rank {rank} is the slow one in all {times} repeats: look at its node, its share of "
            "the data, and what else runs there."
        )
    if not others:
        return f"Rank {rank} was the slow one: look at its node, and repeat the size."
    return (
        f"It is not always the same rank (of {len(slowest)} repeats, rank {rank} in {times}): "
        "steps of uneven length, or other work on the nodes; try nodes of one's own."
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
