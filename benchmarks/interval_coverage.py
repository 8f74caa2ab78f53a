"""Measure how often the 95 % intervals of simulated scaling studies contain the truth.

Each study measures a known law with multiplicative, normal noise. `grows` means noise of 1 % at the
smallest size and 5 % at the largest, although the fits assume equal noise at all sizes.

    python benchmarks/interval_coverage.py --studies 1000
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from launcher.scaling.analysis.fitting import fit
from launcher.scaling.analysis.intervals import mean_interval, ratio_interval
from launcher.scaling.analysis.laws import AMDAHL, GUSTAFSON, USL, ScalingLaw

X1 = 500.0
SIX = (1, 2, 4, 8, 16, 32)
LATE = (4, 8, 16, 32, 64)
NOISES = (0.01, 0.05, "grows")
TRUTHS: tuple[tuple[ScalingLaw, tuple[float, ...]], ...] = (
    (AMDAHL, (0.0,)),
    (AMDAHL, (0.02,)),
    (AMDAHL, (0.1,)),
    (AMDAHL, (0.4,)),
    (GUSTAFSON, (0.0,)),
    (GUSTAFSON, (0.05,)),
    (GUSTAFSON, (0.3,)),
    (USL, (0.0, 0.0)),
    (USL, (0.05, 0.0)),
    (USL, (0.0, 0.002)),
    (USL, (0.05, 0.001)),
    (USL, (0.2, 0.01)),
)


def laws(studies: int, repeats: int) -> None:
    """Print how often each parameter's interval contains it, per truth, sizes and noise."""
    print(f"Parameters of the laws, {repeats} repeats, {studies} studies a line:")
    low, high = 1.0, 0.0
    for line, (law, truth, ranks, noise) in enumerate(
        (law, truth, ranks, noise)
        for law, truth in TRUTHS
        for ranks in (SIX, LATE)
        for noise in NOISES
    ):
        random = np.random.default_rng(line)
        spread = np.geomspace(0.01, 0.05, len(ranks)) if noise == "grows" else [noise] * len(ranks)
        exact = law.throughput(np.array(ranks), X1, truth)
        hits = np.zeros(1 + len(truth))
        for _ in range(studies):
            measured = {
                p: x * np.exp(random.normal(0, sigma, repeats))
                for p, x, sigma in zip(ranks, exact, spread, strict=True)
            }
            found = fit(law, measured)
            for place, (estimate, true) in enumerate(
                zip((found.x1, *found.parameters), (X1, *truth), strict=True)
            ):
                hits[place] += estimate.low <= true <= estimate.high
        shares = hits / studies
        low, high = min(low, *shares), max(high, *shares)
        names = ("X1", *law.parameters)
        truths = " ".join(f"{n}={t:g}" for n, t in zip(law.parameters, truth, strict=True))
        covers = "  ".join(f"{n} {s:.1%}" for n, s in zip(names, shares, strict=True))
        kind = noise if isinstance(noise, str) else f"{noise:.0%}"
        sizes = f"{ranks[0]}..{ranks[-1]}"
        print(f"{law.name:9} {truths:33} ranks {sizes:6} noise {kind:5}  {covers}", flush=True)
    print(f"from {low:.1%} to {high:.1%}\n")


def sizes(studies: int) -> None:
    """Compare our intervals of throughput and speed-up with the plain percentile bootstrap."""
    print(f"Throughput and speed-up (efficiency: the same), {studies} studies a line:")
    for line, (repeats, noise) in enumerate((r, n) for r in (2, 3, 5, 10) for n in (0.01, 0.05)):
        random = np.random.default_rng(1000 + line)
        hits = np.zeros(4)
        for study in range(studies):
            base, here = np.exp(random.normal(0, noise, (2, repeats)))
            drawn = [
                values[random.integers(0, repeats, (2000, repeats))].mean(axis=1)
                for values in (here, base)
            ]
            intervals = [
                mean_interval(here, seed=study),
                ratio_interval(here, base, seed=study),
            ]
            bounds = [(each.low, each.high) for each in intervals]
            bounds += [
                tuple(np.quantile(each, (0.025, 0.975))) for each in (drawn[0], drawn[0] / drawn[1])
            ]
            hits += [low <= 1 <= high for low, high in bounds]
        ours, ratio, plain, plain_ratio = hits / studies
        print(
            f"{repeats:2} repeats, noise {noise:.0%}:  throughput {ours:.1%}  speed-up {ratio:.1%}"
            f"  (plain percentiles: {plain:.1%}, {plain_ratio:.1%})",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    options = parser.parse_args()
    sizes(options.studies)
    print()
    for repeats in (5, 3):
        laws(options.studies, repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
