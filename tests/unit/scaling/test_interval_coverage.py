"""Studies with known truths: how often the 95 % intervals cover them.

`benchmarks/interval_coverage.py` does the same with more studies, truths and kinds of noise.
"""

import numpy as np
import pytest

from launcher.scaling.fitting import fit
from launcher.scaling.intervals import mean_interval, ratio_interval
from launcher.scaling.laws import AMDAHL, GUSTAFSON, USL

STUDIES = 100
X1 = 500.0


@pytest.mark.parametrize(
    ("law", "truth", "ranks", "noise"),
    [
        (AMDAHL, (0.0,), (1, 2, 4, 8, 16), 0.02),
        (AMDAHL, (0.1,), (1, 2, 4, 8, 16, 32), 0.05),
        (AMDAHL, (0.02,), (4, 8, 16, 32, 64), 0.01),
        (GUSTAFSON, (0.0,), (1, 2, 4, 8, 16), 0.02),
        (GUSTAFSON, (0.2,), (2, 4, 8, 16, 32, 64), 0.05),
        (USL, (0.05, 0.0), (1, 2, 4, 8, 16), 0.02),
        (USL, (0.0, 0.002), (1, 2, 4, 8, 16, 32), 0.02),
        (USL, (0.05, 0.001), (4, 8, 16, 32, 64), 0.01),
        (USL, (0.2, 0.01), (1, 2, 4, 8, 16, 32, 64), 0.05),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_intervals_of_parameters_cover_the_truth(law, truth, ranks, noise):
    """SC-043: at least 90 of 100 for each parameter, at the bounds too; not by being boundless."""
    random = np.random.default_rng(round(1e4 * sum(truth)) + len(ranks))
    exact = law.throughput(np.array(ranks), X1, truth)
    covered = np.zeros(1 + len(truth))
    widths = []
    for _ in range(STUDIES):
        noisy = exact[:, None] * np.exp(random.normal(0, noise, (len(ranks), 5)))
        found = fit(law, dict(zip(ranks, noisy.tolist(), strict=True)))
        estimates = (found.x1, *found.parameters)
        for estimate in estimates:
            assert estimate.low <= estimate.value <= estimate.high
        covered += [
            e.low <= true <= e.high for e, true in zip(estimates, (X1, *truth), strict=True)
        ]
        widths.append((found.x1.high - found.x1.low) / X1)
    assert covered.min() >= 90, covered
    assert np.median(widths) < 10 * noise


@pytest.mark.parametrize("repeats", [3, 5])
def test_intervals_of_sizes_cover_the_truth(repeats):
    """SC-041: a mean and a ratio of means; the plain percentile bootstrap of three values covers
    its mean 75 times of 100."""
    random = np.random.default_rng(repeats)
    covered = np.zeros(2)
    studies = 400
    for study in range(studies):
        here, base = np.exp(random.normal(0, 0.03, (2, repeats)))
        for place, found in enumerate(
            (mean_interval(here, seed=study), ratio_interval(here, base, seed=study))
        ):
            covered[place] += found.low <= 1 <= found.high
    assert (covered / studies >= 0.92).all(), covered
    assert (covered / studies <= 0.985).all(), covered


def test_a_law_that_does_not_hold_gets_wide_intervals():
    """SC-043: sizes that no Amdahl curve passes through, with repeats that agree closely."""
    ranks = (1, 2, 4, 8, 16)
    bent = (100.0, 190.0, 350.0, 390.0, 250.0)
    right = AMDAHL.throughput(np.array(ranks), 100.0, (0.1,))
    missed, held = (
        fit(
            AMDAHL,
            {p: [x * f for f in (0.999, 1.0, 1.001)] for p, x in zip(ranks, xs, strict=True)},
        )
        for xs in (bent, right)
    )
    assert missed.misses
    assert missed.parameters[0].high - missed.parameters[0].low > 0.1
    assert not held.misses
    assert held.parameters[0].high - held.parameters[0].low < 0.002
