"""Which law a series follows: the one that best foretells a size that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from launcher.scaling.analysis.fitting import Fit, best_fit, fit
from launcher.scaling.analysis.laws import USL, ScalingLaw, curve, laws_for, own_law
from launcher.scaling.analysis.results import Law
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted

LEAST_SIZES = 4
"""With fewer, nothing is held out."""

_UNEVEN = 0.05
_LEAST_TO_SPREAD = 3
_LEAST_NOISE = 1e-9
"""Below it repeats are the same but for rounding."""


@dataclass(frozen=True)
class LawChoice:
    """The laws of a series."""

    laws: tuple[Law, ...]
    chosen: str | None
    why: str
    doubts: tuple[str, ...]
    """What the intervals of the laws rest on and the repeats speak against, in sentences."""


def choose(mode: Mode, throughputs: Mapping[int, Sequence[float]]) -> LawChoice:
    """Fits the laws of a mode to a series and chooses one.

    Each law is fitted without the largest size and foretells its throughput; the smallest error
    wins, the simpler law at a tie. The figures of all laws are then those of all sizes.

    Args:
        mode: strong (Amdahl) or weak (Gustafson); the USL is tried from five sizes on.
        throughputs: ranks → positive samples/s of the repeats.
    """
    candidates = laws_for(mode, len(throughputs))
    if not candidates:
        least = own_law(mode).least_sizes
        found = "1 size was" if len(throughputs) == 1 else f"{len(throughputs)} sizes were"
        why = f"{found} measured: any law can be bent to fit them; at least {least} are needed."
        return LawChoice((), None, why, ())
    errors: dict[str, float | None] = {law.name: None for law in candidates}
    held_out = None
    if len(throughputs) >= LEAST_SIZES:
        held_out = max(throughputs)
        errors = {law.name: _error(law, throughputs, held_out) for law in candidates}
    fits = [fit(law, throughputs) for law in candidates]
    laws = tuple(_law(each, throughputs, held_out, errors[each.law.name]) for each in fits)
    chosen = min(laws, key=lambda law: round(abs(law.held_out_error or 0.0), 6))
    doubts = tuple(
        f"{each.law.name} misses the measured sizes by more than their repeats explain "
        f"(p = {each.lack_of_fit:.2g}); its intervals are widened by that."
        for each in fits
        if each.misses
    )
    return LawChoice(
        laws, chosen.name, _why(mode, chosen, laws, throughputs), doubts + _uneven(throughputs)
    )


def _error(law: ScalingLaw, throughputs: Mapping[int, Sequence[float]], held_out: int) -> float:
    """(foretold − measured) / measured, of a size that the law has not seen."""
    seen = {ranks: values for ranks, values in throughputs.items() if ranks != held_out}
    measured = float(np.mean(throughputs[held_out]))
    return float(best_fit(law, seen)([held_out])[0] / measured - 1)


def _uneven(throughputs: Mapping[int, Sequence[float]]) -> tuple[str, ...]:
    """Whether the relative noise is the same at all sizes: Bartlett (Proc. R. Soc. A 160, 268
    (1937)), of the logarithms."""
    noise = {
        ranks: _relative_noise(values)
        for ranks, values in throughputs.items()
        if len(values) >= _LEAST_TO_SPREAD
    }
    if len(noise) < 2 or min(noise.values()) < _LEAST_NOISE:
        return ()
    p = float(stats.bartlett(*(np.log(throughputs[ranks]) for ranks in sorted(noise))).pvalue)
    if p >= _UNEVEN:
        return ()
    quiet, loud = min(noise, key=noise.__getitem__), max(noise, key=noise.__getitem__)
    return (
        f"Repeats spread by {noise[quiet]:.1%} at {counted(quiet, 'rank')} and by "
        f"{noise[loud]:.1%} at {counted(loud, 'rank')} (p = {p:.2g} for the same spread at all "
        "sizes). The fits take it for the same: the intervals of the laws' parameters may be too "
        "narrow.",
    )


def _law(
    found: Fit,
    throughputs: Mapping[int, Sequence[float]],
    held_out: int | None,
    error: float | None,
) -> Law:
    shape, values = found.law, [each.value for each in found.parameters]
    return Law(
        name=shape.name,
        formula=shape.formula,
        source=shape.source,
        parameters={
            "X1": found.x1,
            **dict(zip(shape.parameters, found.parameters, strict=True)),
        },
        held_out_ranks=held_out,
        held_out_error=error,
        curve=curve(shape, found.x1.value, values, min(throughputs), max(throughputs)),
    )


def _why(
    mode: Mode, chosen: Law, laws: Sequence[Law], throughputs: Mapping[int, Sequence[float]]
) -> str:
    few = len(throughputs) < USL.least_sizes
    usl = f" The USL needs {USL.least_sizes} sizes." if few else ""
    if chosen.held_out_error is None:
        return (
            f"{len(throughputs)} sizes were measured, so nothing was held out: {chosen.name} is "
            f"taken because it is the law of {mode} scaling.{usl}"
        )
    size = f"the size of {chosen.held_out_ranks} ranks"
    errors = [(law.name, law.held_out_error or 0.0) for law in laws]
    if len(errors) == 1:
        return (
            f"{chosen.name} is the only law fitted; without having seen {size} it foretells its "
            f"throughput {_off(chosen.held_out_error)}.{usl}"
        )
    (best, least), *others = sorted(errors, key=lambda each: each[0] != chosen.name)
    rest = ", ".join(f"{name} {_off(error)}" for name, error in others)
    text = (
        f"Fitted without {size}, {best} foretells its throughput {_off(least)}, {rest}; "
        f"the smallest error is taken."
    )
    noise = _relative_noise(throughputs[max(throughputs)])
    if all(abs(error - least) <= noise for _, error in others):
        text += (
            " The two differ by no more than the repeats of that size do: this study does not tell "
            "the laws apart."
        )
    return text


def _off(error: float) -> str:
    """Within rounding, the words agree with the figure."""
    if abs(error) < 5e-4:
        return "exactly"
    return f"{abs(error):.1%} too {'high' if error > 0 else 'low'}"


def _relative_noise(values: Sequence[float]) -> float:
    """Standard deviation of the repeats, relative."""
    return float(np.std(np.log(values), ddof=1)) if len(values) > 1 else 0.0
