"""Studies with known truths: how often the 95 % intervals cover them.

`benchmarks/interval_coverage.py` does the same with more studies, truths and kinds of noise.
"""

import numpy as np
import pytest

from launcher.scaling.analysis.fitting import fit
from launcher.scaling.analysis.intervals import mean_interval, ratio_interval
from launcher.scaling.analysis.laws import AMDAHL, GUSTAFSON, USL

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


def test_repeating_does_not_make_a_law_hold():
    """SC-043: sizes that no Amdahl curve passes through; the intervals are those of the misses,
    however often each size is repeated. Where the law holds, they shrink."""
    ranks = (1, 2, 4, 8, 16)
    right = AMDAHL.throughput(np.array(ranks), 100.0, (0.1,))
    bent = right * np.array([1.0, 1.03, 0.97, 1.02, 0.98])

    def width(throughputs, repeats):
        spread = 1 + 0.002 * (np.arange(repeats) % 3 - 1)
        found = fit(AMDAHL, {p: x * spread for p, x in zip(ranks, throughputs, strict=True)})
        assert found.misses == (throughputs is bent)
        return found.parameters[0].high - found.parameters[0].low

    assert width(bent, 30) > 0.95 * width(bent, 3) > 0.01
    assert width(right, 30) < 0.5 * width(right, 3) < 0.005
