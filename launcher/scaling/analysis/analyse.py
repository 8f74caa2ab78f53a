"""The analysis of a study: what follows from its measurements; without side effects."""

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
    """Analyse a study; equal arguments give equal results.

    Args:
        collected: the measurements of the study, and the points without one.
        deadline_s: time in which the work of the study's config has to be done, in seconds from the
            start of the job; None: there is no deadline.
        seed: seed of the bootstrap.
        resamples: number of resamples of the bootstrap.
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
    """Analyse one mode with one number of tasks per node.

    Args:
        mode: strong or weak.
        tasks_per_node: ranks on each node.
        repeats: nodes → runs, in ascending order.
        seed: seed of the bootstrap.
        resamples: number of resamples of the bootstrap.

    Returns:
        The series, and the choice of its law.
    """
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
        "interval": "percentile bootstrap over the repeats, on the logarithm of the throughput, "
        "corrected for small samples (variance scaled by n/(n−1), quantiles by the ratio of "
        "Student's t to the normal distribution)",
        "law_fit": "least squares of the relative residuals, with parameters between 0 and 1",
        "law_interval": "profile likelihood with the quantile of the F distribution; where the law "
        "misses the sizes by more than the repeats explain, the variance is that of the lack of "
        "fit",
        "lack_of_fit_level": fitting.LACK_OF_FIT,
        "least_sizes_usl": USL.least_sizes,
        "least_sizes_held_out": LEAST_SIZES,
        "held_out": "the largest measured size",
        "farthest": FARTHEST,
        "knee_least_marginal_efficiency": LEAST_MARGINAL,
        "few_repeats": FEW_REPEATS,
        "time_to_solution_least_runs": LEAST_RUNS,
        "time_to_solution": "mean of the runs without the fastest and the slowest one",
        "drift_per_hour": None if drifted is None else drifted.per_hour,
        "drift_p": None if drifted is None else drifted.p,
    }
