"""From what a study has measured to what follows from it: pure, the same answer each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from launcher.scaling.analysis import fitting
from launcher.scaling.analysis.caveats import FEW_REPEATS, caveats
from launcher.scaling.analysis.choice import LEAST_SIZES, LawChoice, choose
from launcher.scaling.analysis.deadline import for_deadline
from launcher.scaling.analysis.drift import Drift, drift
from launcher.scaling.analysis.intervals import CONFIDENCE, RESAMPLES
from launcher.scaling.analysis.knee import LEAST as LEAST_MARGINAL
from launcher.scaling.analysis.knee import knee
from launcher.scaling.analysis.laws import FARTHEST, USL
from launcher.scaling.analysis.limits import limits
from launcher.scaling.analysis.results import Collected, Measurement, Series, StudyAnalysis
from launcher.scaling.analysis.sizes import (
    by_size,
    in_order,
    sizes_of,
    throughputs,
    usable,
)
from launcher.scaling.analysis.solution import LEAST_RUNS
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted


def analyse(
    collected: Collected,
    *,
    deadline_s: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> StudyAnalysis:
    """What follows from a study.

    Args:
        collected: all that it measured, and what it did not.
        deadline_s: by when the work of the study's config is to be done, in seconds from the start
            of the job; None: nobody asks.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    collected = replace(collected, measured=tuple(in_order(collected.measured)))
    measured = [each for each in collected.measured if usable(each)]
    series, doubts = [], []
    for mode in collected.study.modes:
        for tasks_per_node, sizes in by_size(measured, mode).items():
            one, choice = _series(mode, tasks_per_node, sizes, seed, resamples)
            series.append(one)
            doubts += [f"{mode}, {_tasks(tasks_per_node)}: {text}" for text in choice.doubts]
    drifted = drift(measured)
    return StudyAnalysis(
        series=tuple(series),
        deadline=(
            for_deadline(deadline_s, series, collected.study.base)
            if deadline_s is not None
            else None
        ),
        warnings=(*caveats(collected, drifted), *doubts),
        lr_rule=collected.study.lr_rule,
        methods=_methods(seed, resamples, drifted),
    )


def _series(
    mode: Mode,
    tasks_per_node: int,
    repeats: Mapping[int, Sequence[Measurement]],
    seed: int,
    resamples: int,
) -> tuple[Series, LawChoice]:
    """Of one mode and number of tasks per node; `repeats`: nodes → runs, ascending."""
    sizes = sizes_of(repeats, seed=seed, resamples=resamples)
    measured = {nodes * tasks_per_node: throughputs(runs) for nodes, runs in repeats.items()}
    choice = choose(mode, measured)
    bend = knee(measured, seed=seed, resamples=resamples)
    return Series(
        mode=mode,
        tasks_per_node=tasks_per_node,
        sizes=sizes,
        laws=choice.laws,
        chosen=choice.chosen,
        why_chosen=choice.why,
        knee_ranks=bend.ranks,
        knee_why=bend.why,
        limits=limits(mode, sizes, repeats[sizes[-1].nodes]),
    ), choice


def _tasks(tasks_per_node: int) -> str:
    return f"{counted(tasks_per_node, 'task')} per node"


def _methods(seed: int, resamples: int, drifted: Drift | None) -> dict[str, Any]:
    return {
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "seed": seed,
        "interval": "bootstrap of the repeats, percentiles in the logarithm, corrected for few "
        "repeats (variance by n/(n-1), quantiles by Student's t over the normal's)",
        "law_fit": "least squares of relative residuals, parameters between 0 and 1",
        "law_interval": "profile likelihood with the F quantile; where the law misses the sizes by "
        "more than the repeats explain, the variance is that of the misses",
        "lack_of_fit_level": fitting.LACK_OF_FIT,
        "least_sizes_usl": USL.least_sizes,
        "least_sizes_held_out": LEAST_SIZES,
        "held_out": "the largest measured size",
        "farthest": FARTHEST,
        "knee_least_marginal_efficiency": LEAST_MARGINAL,
        "few_repeats": FEW_REPEATS,
        "time_to_solution_least_runs": LEAST_RUNS,
        "time_to_solution": "mean without the fastest and the slowest run",
        "drift_per_hour": None if drifted is None else drifted.per_hour,
        "drift_p": None if drifted is None else drifted.p,
    }
