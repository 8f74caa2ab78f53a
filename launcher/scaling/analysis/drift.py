"""Whether the machine got faster or slower while the study ran.

The sizes of each repeat run in random order, so that a drift widens the intervals instead of
looking like scaling. To find a drift, the model log X = mean of the size + b·t + noise is fitted to
all runs by least squares, and b is tested against 0 with Student's t. Each size has its own mean,
so differences between sizes do not count as drift.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from launcher.scaling.analysis.results import Measurement

ALARM = 0.05
"""A drift with a smaller p-value is a caveat of the study."""
_LEAST_FREEDOM = 3


@dataclass(frozen=True)
class Drift:
    """A trend of throughput over the time of the study."""

    per_hour: float
    """Relative change of throughput per hour."""
    over_study: float
    """Relative change of throughput from the first run's start to the last one's."""
    hours: float
    """Hours from the first run's start to the last one's."""
    p: float
    """p-value: how often runs without a drift show one at least this strong."""


def drift(measured: Iterable[Measurement]) -> Drift | None:
    """The drift of a study; None: there are too few repeats, or all started at the same time."""
    groups: dict[tuple[int, ...], list[tuple[float, float]]] = defaultdict(list)
    for each in measured:
        point = each.point
        key = (point.nodes, point.tasks_per_node, point.batch_size, point.global_batch)
        groups[key].append((each.started_at, float(np.log(each.attribution.samples_per_s))))
    repeated = [np.array(sorted(values)) for values in groups.values() if len(values) > 1]
    if not repeated:
        return None
    inside = np.concatenate([values - values.mean(axis=0) for values in repeated])
    hours, logs = inside[:, 0] / 3600, inside[:, 1]
    freedom = len(inside) - len(repeated) - 1
    spread = float(hours @ hours)
    if freedom < _LEAST_FREEDOM or spread == 0:
        return None
    slope = float(hours @ logs) / spread
    left = float(((logs - slope * hours) ** 2).sum())
    starts = np.concatenate([values[:, 0] for values in repeated])
    study_hours = float(np.ptp(starts)) / 3600
    error = np.sqrt(left / freedom / spread)
    # Repeats that agree to the last bit leave nothing but rounding to divide by.
    p = float(2 * stats.t.sf(abs(slope) / error, freedom)) if left > 1e-24 else float(slope == 0)
    return Drift(_relative(slope), _relative(slope * study_hours), study_hours, p)


def _relative(log_change: float) -> float:
    return float(np.expm1(np.clip(log_change, -50, 50)))


def drift_sentence(found: Drift) -> str:
    """The drift in a sentence, for the caveats."""
    rises = "rises" if found.over_study > 0 else "falls"
    rate = f"{100 * found.per_hour:+.1f} % an hour; " if found.hours >= 1 else ""
    return (
        f"Throughput {rises} by {100 * abs(found.over_study):.1f} % from the first run to the last "
        f"({rate}p = {found.p:.2g}): something other than the size changed "
        "while the study ran. Because the sizes ran in random order, this widens the intervals but "
        "does not look like scaling."
    )
