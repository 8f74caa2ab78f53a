"""Choice of the scaling law of a series: the one that best predicts a size held out of its fit."""

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
"""With fewer sizes, none is held out."""

_UNEVEN = 0.05
_LEAST_TO_SPREAD = 3
_LEAST_NOISE = 1e-9
"""Below this relative noise, repeats are equal except for rounding."""


@dataclass(frozen=True)
class LawChoice:
    """The fitted laws of a series, and which of them was chosen."""

    laws: tuple[Law, ...]
    chosen: str | None
    why: str
    doubts: tuple[str, ...]
    """Assumptions of the intervals that the repeats contradict, in sentences."""


def choose(mode: Mode, throughputs: Mapping[int, Sequence[float]]) -> LawChoice:
    """Fit the laws of a mode to a series and choose one.

    Each law is fitted without the largest size and predicts its throughput; the law with the
    smallest error is chosen, the simpler one in a tie. The reported parameters come from fits to
    all sizes.

    Args:
        mode: strong (Amdahl) or weak (Gustafson); with five sizes or more, the USL is tried too.
        throughputs: ranks → positive samples/s of the repeats.
    """
    candidates = laws_for(mode, len(throughputs))
    if not candidates:
        least = own_law(mode).least_sizes
        found = "1 size was" if len(throughputs) == 1 else f"{len(throughputs)} sizes were"
        why = f"{found} measured; at least {least} are needed, else any law could fit."
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
        f"{each.law.name} misses the measured sizes by more than the repeats explain "
        f"(p = {each.lack_of_fit:.2g}); its intervals are widened accordingly."
        for each in fits
        if each.misses
    )
    return LawChoice(
        laws, chosen.name, _why(mode, chosen, laws, throughputs), doubts + _uneven(throughputs)
    )


def _error(law: ScalingLaw, throughputs: Mapping[int, Sequence[float]], held_out: int) -> float:
    """(predicted − measured) / measured at a size held out of the fit."""
    seen = {ranks: values for ranks, values in throughputs.items() if ranks != held_out}
    measured = float(np.mean(throughputs[held_out]))
    return float(best_fit(law, seen)([held_out])[0] / measured - 1)


def _uneven(throughputs: Mapping[int, Sequence[float]]) -> tuple[str, ...]:
    """A doubt where the relative noise differs between sizes.

    Bartlett's test (Proc. R. Soc. A 160, 268 (1937)) on the logarithms of the throughputs.
    """
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
        f"Repeats spread by {100 * noise[quiet]:.1f} % at {counted(quiet, 'rank')} and by "
        f"{100 * noise[loud]:.1f} % at {counted(loud, 'rank')} (p = {p:.2g} for an equal spread at "
        "all sizes). The fits assume an equal spread, so the intervals of the laws' parameters may "
        "be too narrow.",
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
            f"Only {len(throughputs)} sizes were measured, so none was held out: {chosen.name} is "
            f"chosen because it is the law of {mode} scaling.{usl}"
        )
    size = f"the size of {chosen.held_out_ranks} ranks"
    errors = [(law.name, law.held_out_error or 0.0) for law in laws]
    if len(errors) == 1:
        return (
            f"{chosen.name} is the only law that was fitted. Fitted without {size}, it predicts "
            f"the throughput there {_off(chosen.held_out_error)}.{usl}"
        )
    (best, least), *others = sorted(errors, key=lambda each: each[0] != chosen.name)
    rest = ", ".join(f"{name} {_off(error)}" for name, error in others)
    text = (
        f"Fitted without {size}, {best} predicts the throughput there {_off(least)}, {rest}; "
        f"the law with the smallest error is chosen."
    )
    noise = _relative_noise(throughputs[max(throughputs)])
    if all(abs(error - least) <= noise for _, error in others):
        text += (
            " The two predictions differ by no more than the repeats of that size do: this study "
            "cannot distinguish between the laws."
        )
    return text


def _off(error: float) -> str:
    """The error in words, `exactly` where it rounds to 0.0 %."""
    if abs(error) < 5e-4:
        return "exactly"
    return f"{100 * abs(error):.1f} % too {'high' if error > 0 else 'low'}"


def _relative_noise(values: Sequence[float]) -> float:
    """Relative standard deviation of the repeats."""
    return float(np.std(np.log(values), ddof=1)) if len(values) > 1 else 0.0
