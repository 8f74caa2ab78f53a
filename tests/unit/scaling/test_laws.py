"""The scaling laws, their fits, and how far they may be asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.scaling.analysis.choice import choose
from launcher.scaling.analysis.fitting import fit
from launcher.scaling.analysis.laws import AMDAHL, GUSTAFSON, USL, throughput_by

RANKS = (1, 2, 4, 8, 16)


def exactly(law, parameters, ranks=RANKS, x1=500.0):
    values = law.throughput(np.array(ranks), x1, parameters)
    return {p: [float(x)] * 3 for p, x in zip(ranks, values, strict=True)}


@pytest.mark.parametrize(
    ("law", "parameters", "ranks", "expected"),
    [
        (AMDAHL, (0.1,), 9, 500 / (0.1 + 0.9 / 9)),
        (GUSTAFSON, (0.25,), 9, 500 * (9 - 0.25 * 8)),
        (USL, (0.05, 0.01), 4, 500 * 4 / (1 + 0.05 * 3 + 0.01 * 4 * 3)),
    ],
)
def test_the_formulas(law, parameters, ranks, expected):
    """SC-042: as in the sources."""
    assert law.throughput(np.array([ranks]), 500.0, parameters)[0] == pytest.approx(expected)
    assert law.source
    assert law.formula


fractions = st.floats(0.0, 0.9)


@settings(max_examples=40)
@given(law=st.sampled_from([AMDAHL, GUSTAFSON]), serial=fractions, first=st.sampled_from([1, 3]))
def test_fits_find_what_made_exact_data(law, serial, first):
    """SC-042: also where the smallest size has several ranks."""
    ranks = tuple(first * p for p in RANKS)
    found = fit(law, exactly(law, (serial,), ranks))
    assert found.parameters[0].value == pytest.approx(serial, abs=1e-6)
    assert found.x1.value == pytest.approx(500.0, rel=1e-5)
    assert not found.misses


@settings(max_examples=30)
@given(contention=st.floats(0.0, 0.5), coherency=st.floats(0.0, 0.05), scale=st.floats(1e-3, 1e6))
def test_the_usl_finds_what_made_exact_data(contention, coherency, scale):
    """SC-042, SC-053: whatever the unit of throughput."""
    found = fit(USL, exactly(USL, (contention, coherency), x1=scale))
    assert found.parameters[0].value == pytest.approx(contention, abs=1e-6)
    assert found.parameters[1].value == pytest.approx(coherency, abs=1e-6)
    assert found.x1.value == pytest.approx(scale, rel=1e-5)


throughput_lists = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=4)


@settings(max_examples=60)
@given(
    law=st.sampled_from([AMDAHL, GUSTAFSON, USL]),
    measured=st.dictionaries(st.integers(1, 512), throughput_lists, min_size=5, max_size=7),
)
def test_any_numbers_give_ordered_finite_intervals(law, measured):
    """SC-053: whatever was measured, however far from any law."""
    found = fit(law, measured)
    for each in (found.x1, *found.parameters):
        assert np.isfinite([each.value, each.low, each.high]).all()
        assert each.low <= each.value <= each.high
    assert all(each.low >= 0 and each.high <= 1 for each in found.parameters)


def test_too_few_sizes_are_refused():
    """SC-042: two sizes fit any curve."""
    with pytest.raises(ValueError, match="needs 3 different sizes, found 2"):
        fit(AMDAHL, {1: [1.0], 2: [2.0]})
    with pytest.raises(ValueError, match="USL needs 5"):
        fit(USL, {p: [float(p)] for p in (1, 2, 4, 8)})


# --- the choice ---------------------------------------------------------------------------------


def noisy(law, parameters, ranks=RANKS, noise=0.01, seed=0):
    random = np.random.default_rng(seed)
    return {
        p: [x[0] * float(np.exp(random.normal(0, noise))) for _ in range(5)]
        for p, x in exactly(law, parameters, ranks).items()
    }


def test_the_law_that_foretells_the_largest_size_is_chosen():
    """SC-044: coherency is what Amdahl's law does not know."""
    found = choose("strong", noisy(USL, (0.02, 0.005), (1, 2, 4, 8, 16, 32)))
    errors = {law.name: abs(law.held_out_error) for law in found.laws}
    assert found.chosen == "USL"
    assert errors["USL"] < 0.1 < errors["Amdahl"]
    assert {law.held_out_ranks for law in found.laws} == {32}
    assert "size of 32 ranks" in found.why
    assert "too high" in found.why
    assert any(text.startswith("Amdahl misses") for text in found.doubts)


def test_the_error_is_that_of_a_size_not_seen():
    """SC-044: of a size far off the law, which a fit that had seen it would follow."""
    measured = exactly(AMDAHL, (0.05,))
    honest = float(np.mean(measured[16]))
    measured[16] = [honest / 2] * 3
    found = choose("strong", measured)
    amdahl = next(law for law in found.laws if law.name == "Amdahl")
    assert amdahl.held_out_error == pytest.approx(1.0, abs=1e-4)


def test_noise_that_differs_between_the_sizes_is_a_doubt():
    """SC-043: the intervals lean on its being the same; even noise is doubted one time in 20."""

    def doubted(spreads):
        found = 0
        for seed in range(40):
            random = np.random.default_rng(seed)
            sizes = zip(exactly(AMDAHL, (0.1,), (1, 2, 4, 8)).items(), spreads, strict=True)
            measured = {p: (x[0] * np.exp(random.normal(0, s, 5))).tolist() for (p, x), s in sizes}
            found += any("% at 1 rank" in each for each in choose("strong", measured).doubts)
        return found

    assert doubted([0.002, 0.01, 0.03, 0.08]) >= 36
    assert doubted([0.02] * 4) <= 6


def test_at_a_tie_the_simpler_law_is_taken():
    """SC-044: with no coherency the USL is Amdahl's law, and the study does not tell them apart."""
    found = choose("strong", exactly(AMDAHL, (0.1,)))
    assert found.chosen == "Amdahl"
    assert "cannot distinguish between the laws" in found.why


@pytest.mark.parametrize(("mode", "law"), [("strong", AMDAHL), ("weak", GUSTAFSON)])
def test_three_sizes_hold_nothing_out(mode, law):
    """SC-044: and no USL below five sizes (SC-042)."""
    found = choose(mode, noisy(law, (0.1,), (1, 2, 4)))
    assert found.chosen == law.name
    assert [each.name for each in found.laws] == [law.name]
    assert found.laws[0].held_out_error is None
    assert "none was held out" in found.why


def test_four_sizes_hold_one_out_and_have_no_usl():
    """SC-042, SC-044"""
    found = choose("weak", noisy(GUSTAFSON, (0.1,), (1, 2, 4, 8)))
    assert [each.name for each in found.laws] == ["Gustafson"]
    assert found.laws[0].held_out_ranks == 8
    assert "only law" in found.why


def test_two_sizes_have_no_law():
    """SC-042, SC-044"""
    found = choose("strong", noisy(AMDAHL, (0.1,), (1, 2)))
    assert found.laws == ()
    assert found.chosen is None
    assert "at least 3 are needed" in found.why


@settings(max_examples=20)
@given(first=st.integers(1, 8), serial=fractions, mode=st.sampled_from(["strong", "weak"]))
def test_curves_end_at_twice_the_largest_size(first, serial, mode):
    """SC-045: and who asks beyond is refused."""
    law = AMDAHL if mode == "strong" else GUSTAFSON
    ranks = [first * p for p in RANKS]
    for fitted in choose(mode, noisy(law, (serial,), tuple(ranks))).laws:
        xs = [x for x, _ in fitted.curve]
        assert xs[0] == ranks[0]
        assert xs[-1] == 2 * ranks[-1]
        assert xs == sorted(xs)
        for x, y in (fitted.curve[0], fitted.curve[-1]):
            assert throughput_by(fitted, x) == pytest.approx(y)
        with pytest.raises(ValueError, match="twice the largest"):
            throughput_by(fitted, 2 * ranks[-1] + 1)
        with pytest.raises(ValueError, match="smallest measured"):
            throughput_by(fitted, ranks[0] - 0.5)
