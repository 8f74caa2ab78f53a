"""What limits the scaling of a series, in words, derived from the parts of a step.

With perfect scaling, each part of a step at the largest size would take as long as at the smallest
size, times p0/p in strong mode (the same samples on more ranks) or times 1 in weak mode. Any time
beyond that is the loss in this part; the sum over the parts is the loss of the step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from launcher.pages.words import percent
from launcher.scaling.analysis.results import Measurement, Size
from launcher.scaling.analysis.sizes import named, size_name
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted
from launcher.timing.attribution import STEP_PARTS

NOTICEABLE = 0.02
"""Fraction of a step at the largest size that a loss must reach to be reported."""
_TRY = {
    "data": "more loader processes (execution.num_workers), or copying the data to the nodes' own "
    "disks (data.stage_to).",
    "communication": "a larger batch per rank, more micro-batches between two gradient reductions "
    "(execution.accum_steps), or faster links between the nodes.",
    "optimizer": "a larger global batch: each rank does the whole update, so only fewer updates "
    "per sample help.",
    "checkpoint": "less frequent checkpoints (execution.checkpoint_every_n_steps, "
    "checkpoint_every_s).",
    "validation": "a smaller validation set, or less frequent pictures "
    "(execution.recon_log_every_n_epochs).",
    "framework": "a larger batch per rank: this cost is the same for every step, whatever its "
    "batch.",
}
_TRY_COMPUTING: dict[Mode, str] = {
    "strong": "a larger global batch (the batch per rank has become too small to keep a rank "
    "busy), or fewer ranks per node if they share cores or memory bandwidth.",
    "weak": "fewer ranks per node, or more cores for each (resources.cpus_per_task): a rank needs "
    "longer for the same work, so the ranks share cores or memory bandwidth.",
}


def limits(mode: Mode, sizes: Sequence[Size], largest: Sequence[Measurement]) -> tuple[str, ...]:
    """Describe what limits a series, in sentences, the most important first.

    Args:
        mode: mode of the series.
        sizes: the sizes of the series, by ranks.
        largest: the repeats of the largest size.
    """
    said = _oversubscription(sizes)
    if len(sizes) < 2:
        return (
            *said,
            "Only one size was measured, so the parts of its step cannot be compared with another.",
        )
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
        return (*said, f"{heading} No part loses {percent(NOTICEABLE)} of a step or more.")
    sentences = [_sentence(mode, part, first, last, lost[part], largest) for part in found]
    return (*said, heading, *sentences)


def lost_s(mode: Mode, first: Size, last: Size) -> dict[str, float]:
    """Seconds per step of each part at `last` in excess of perfect scaling from `first`."""
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
        f"Oversubscription: {named(over)} used more threads than there are cores. What follows "
        "describes this machine, not how the training scales.",
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
        f"{name[0].upper()}{name[1:]}: {_ms(lost)} lost per step, from {_ms(before)} "
        f"({percent(shares[0])} of a step) with {counted(first.ranks, 'rank')} to {_ms(after)} "
        f"({percent(shares[1])}) with {counted(last.ranks, 'rank')}."
    )
    if part == "straggler":
        return f"{text} {_who_is_slow(largest)}"
    return f"{text} Try {_TRY.get(part) or _TRY_COMPUTING[mode]}"


def _who_is_slow(repeats: Sequence[Measurement]) -> str:
    """Which rank the others wait for: the one that waits least itself."""
    slowest = [
        min(ranks, key=lambda rank: (ranks[rank].get("straggler", 0.0), rank))
        for repeat in repeats
        if len(ranks := repeat.attribution.by_rank_s) > 1
    ]
    if not slowest:
        return "It was not recorded which rank is slow."
    (rank, times), *others = Counter(slowest).most_common()
    if not others and times > 1:
        return (
            f"Rank {rank} is the slow one in all {times} repeats: check its node, its share of the "
            "data, and what else runs there."
        )
    if not others:
        return f"Rank {rank} was the slow one: check its node, and repeat this size."
    return (
        f"It is not always the same rank (rank {rank} in {times} of {len(slowest)} repeats): the "
        "steps have uneven lengths, or other jobs run on the nodes; try exclusive nodes."
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
