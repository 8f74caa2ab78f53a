"""Scores of an object against a known truth."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import structural_similarity_index_measure
from waiting import HANG_S

from ptycho_dist.data.simulate import SimulationSpec, simulate
from ptycho_dist.reconstruction.scores import (
    ObjectScores,
    align_to,
    fourier_ring_correlation,
    scan_region,
    score_object,
)

WHOLE = (slice(None), slice(None))


def textured(rows: int = 90, columns: int = 110, phase_range: float = np.pi) -> np.ndarray:
    """A piece of a simulated object, its phase stretched to the range."""
    _, truth = simulate(SimulationSpec(N=32, n_patterns=400, n_photons=1e3, seed=5))
    piece_YX = truth.object_YX[:rows, :columns].astype(np.complex128)
    assert piece_YX.shape == (rows, columns)
    return np.abs(piece_YX) * np.exp(1j * np.angle(piece_YX) * phase_range / np.pi)


TRUTH = textured()


def noise(seed: int = 0, shape: tuple[int, int] = TRUTH.shape) -> np.ndarray:
    """Complex, of power 1."""
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)) / 2**0.5


def blurred(object_YX: np.ndarray, sigma_px: float) -> np.ndarray:
    return gaussian_filter(object_YX.real, sigma_px) + 1j * gaussian_filter(
        object_YX.imag, sigma_px
    )


def ramp(cycles_y: float, cycles_x: float, shape: tuple[int, int] = TRUTH.shape) -> np.ndarray:
    y, x = np.indices(shape)
    return np.exp(2j * np.pi * (cycles_y * y / shape[0] + cycles_x * x / shape[1]))


class TestAlignment:
    @given(
        amplitude=st.floats(1e-3, 1e3),
        angle=st.floats(-np.pi, np.pi),
        cycles_y=st.floats(-8, 8),
        cycles_x=st.floats(-8, 8),
        phase_range=st.sampled_from([np.pi, 4 * np.pi]),
    )
    @settings(max_examples=60)
    def test_factor_and_ramp_are_undone(
        self, amplitude: float, angle: float, cycles_y: float, cycles_x: float, phase_range: float
    ) -> None:
        """REC-040"""
        truth = np.abs(TRUTH) * np.exp(1j * np.angle(TRUTH) * phase_range / np.pi)
        changed = amplitude * np.exp(1j * angle) * ramp(cycles_y, cycles_x) * truth
        np.testing.assert_allclose(align_to(changed, truth), truth, atol=1e-6)

    @given(st.floats(-4, 4), st.floats(-4, 4))
    @settings(max_examples=20)
    def test_through_noise(self, cycles_y: float, cycles_x: float) -> None:
        """As strong as the object: the ramp is right to a hundredth of a cycle over the field."""
        noisy = ramp(cycles_y, cycles_x) * (TRUTH + 0.7 * noise())
        found = align_to(noisy, TRUTH) / noisy * ramp(cycles_y, cycles_x)
        np.testing.assert_allclose(np.angle(found), 0, atol=0.05)

    def test_nothing_nearer_within_its_reach(self) -> None:
        """What it claims: the least squares over factor and ramp, here for unlike objects."""
        weight = np.random.default_rng(1).uniform(0, 1, TRUTH.shape)
        aligned = align_to(blurred(TRUTH, 3) + 0.5 * noise(), TRUTH, weight)

        def misfit(object_YX: np.ndarray) -> float:
            return float((weight * np.abs(object_YX - TRUTH) ** 2).sum())

        for change in (1.001, 0.999, np.exp(1e-3j), np.exp(-1e-3j)):
            assert misfit(change * aligned) > misfit(aligned)
        for cycles in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
            turned = ramp(*cycles) * aligned
            factor = (weight * turned.conj() * TRUTH).sum() / (weight * np.abs(turned) ** 2).sum()
            assert misfit(factor * turned) > misfit(aligned)

    def test_what_has_no_weight_has_no_say(self) -> None:
        weight = np.zeros(TRUTH.shape)
        weight[20:70, 20:80] = 1
        changed = 2j * ramp(1.3, -2.6) * TRUTH
        spoilt = np.where(weight > 0, changed, 50 * noise())
        inside = weight > 0
        np.testing.assert_allclose(align_to(spoilt, TRUTH, weight)[inside], TRUTH[inside])
        assert np.abs(align_to(spoilt, TRUTH) - TRUTH)[inside].max() > 0.1

    def test_a_flat_object_gets_the_ramp_of_the_truth(self) -> None:
        sloping = 0.5 * ramp(1.7, -0.4)
        np.testing.assert_allclose(align_to(np.ones_like(TRUTH), sloping), sloping, atol=1e-6)

    def test_zeros_stay_zeros(self) -> None:
        assert not align_to(0 * TRUTH, TRUTH).any()

    def test_refusals(self) -> None:
        broken = TRUTH.copy()
        broken[3, 3] = np.nan
        with pytest.raises(ValueError, match=r"\(90, 110\) and \(90, 109\)"):
            align_to(TRUTH, TRUTH[:, 1:])
        with pytest.raises(ValueError, match="finite"):
            align_to(broken, TRUTH)
        with pytest.raises(ValueError, match="weights must be"):
            align_to(TRUTH, TRUTH, -np.ones(TRUTH.shape))
        with pytest.raises(ValueError, match="weights must be"):
            align_to(TRUTH, TRUTH, np.ones(3))
        with pytest.raises(ValueError, match="the truth is zero"):
            align_to(TRUTH, TRUTH, np.zeros(TRUTH.shape))


class TestScores:
    def test_the_truth_itself(self) -> None:
        """Also behind a factor and a ramp, in single precision."""
        for same, psnr_db in (
            (TRUTH, 250),
            ((3j * ramp(2.2, -1.4) * TRUTH).astype(np.complex64), 110),
        ):
            scores = score_object(same, TRUTH, WHOLE)
            assert scores.ssim_amplitude == pytest.approx(1, abs=1e-6)
            assert scores.ssim_phase == pytest.approx(1, abs=1e-6)
            assert min(scores.psnr_amplitude, scores.psnr_phase) > psnr_db
            assert scores.frc.resolution_px == 2.0
            assert all(type(score) is float for score in figures(scores))

    def test_more_noise_is_worse(self) -> None:
        scores = [
            score_object(TRUTH + level * noise(), TRUTH, WHOLE) for level in (0.03, 0.3, 0.6, 1.2)
        ]
        for better, worse in pairwise(scores):
            assert better.ssim_amplitude > worse.ssim_amplitude
            assert better.ssim_phase > worse.ssim_phase
            assert better.psnr_amplitude > worse.psnr_amplitude
            assert better.psnr_phase > worse.psnr_phase
            assert better.frc.resolution_px < worse.frc.resolution_px

    def test_more_blur_is_worse(self) -> None:
        """With a little noise on each, as the ring correlation needs."""
        scores = [
            score_object(blurred(TRUTH, sigma) + 0.05 * noise(), TRUTH, WHOLE)
            for sigma in (0, 1.5, 3, 6)
        ]
        assert scores[0].frc.resolution_px == 2.0
        for better, worse in pairwise(scores):
            pairs = zip(figures(better)[:4], figures(worse)[:4], strict=True)
            assert all(a > b for a, b in pairs)
            assert better.frc.resolution_px < worse.frc.resolution_px

    def test_the_wrong_way_round_collapses(self) -> None:
        truth = TRUTH[:90, :90]
        assert_bad(score_object(truth.T, truth, WHOLE))
        assert_bad(score_object(truth[:, ::-1], truth, WHOLE))
        conjugate = score_object(truth.conj(), truth, WHOLE)  # its amplitude is no worse
        assert conjugate.ssim_phase < 0
        assert conjugate.psnr_phase < 12
        assert conjugate.frc.resolution_px > 20

    @pytest.mark.parametrize("phase_range", [np.pi, 1.5 * np.pi])
    def test_objects_that_know_nothing(self, phase_range: float) -> None:
        """Flat, zero, noise, and another object of the same kind: none looks good."""
        truth = textured(phase_range=phase_range)
        for guess in (np.ones_like(truth), 0 * truth, -0 * truth, noise(), truth[::-1, ::-1]):
            assert_bad(score_object(guess, truth, WHOLE))

    def test_a_phase_beside_the_branch_cut_is_no_error(self) -> None:
        """The truth's global phase, and noise around ±π, change nothing."""
        noisy = TRUTH + 0.03 * noise()
        expected = score_object(noisy, TRUTH, WHOLE)
        for angle in (1.0, np.pi, -2.5):
            scores = score_object(noisy, np.exp(1j * angle) * TRUTH, WHOLE)
            assert figures(scores) == pytest.approx(figures(expected), rel=1e-5)
        wide = textured(phase_range=2 * np.pi)
        assert score_object(wide + 0.02 * noise(), wide, WHOLE).psnr_phase > 35

    def test_phase_error_in_decibels(self) -> None:
        """Two halves moved by ±0.1 rad: an error of 0.1 rad everywhere, in no way a ramp."""
        chequers = np.indices(TRUTH.shape).sum(axis=0) % 2 * 2 - 1
        scores = score_object(TRUTH * np.exp(0.1j * chequers), TRUTH, WHOLE)
        span = np.ptp(np.angle(TRUTH))
        assert scores.psnr_phase == pytest.approx(20 * np.log10(span / 0.1), abs=0.02)
        # |c| = cos 0.1 is all that the amplitude suffers
        error = (1 - np.cos(0.1)) * np.sqrt((np.abs(TRUTH) ** 2).mean())
        expected = 20 * np.log10(np.ptp(np.abs(TRUTH)) / error)
        assert scores.psnr_amplitude == pytest.approx(expected, abs=0.05)

    def test_against_torchmetrics(self) -> None:
        """Where nothing wraps: amplitudes as they are, phases from the least of the truth's."""
        noisy = blurred(TRUTH, 2)
        aligned = align_to(noisy, TRUTH)
        scores = score_object(noisy, TRUTH, WHOLE)
        least = np.angle(TRUTH).min()
        for image, truth, score in (
            (np.abs(aligned), np.abs(TRUTH), scores.ssim_amplitude),
            (np.angle(aligned) - least, np.angle(TRUTH) - least, scores.ssim_phase),
        ):
            pair = (torch.from_numpy(each)[None, None] for each in (image, truth))
            span = float(np.ptp(truth))
            expected = structural_similarity_index_measure(*pair, data_range=span)
            assert score == pytest.approx(float(expected), abs=1e-9)

    def test_dark_pixels_have_phase_zero(self) -> None:
        """The truth's is no better a guess; the sign of a zero does not matter."""
        phase = np.angle(TRUTH / TRUTH.mean())
        expected = 20 * np.log10(np.ptp(phase) / np.sqrt((phase**2).mean()))
        for angle in (0.5, 2, -2, -0.5):
            scores = score_object(0 * TRUTH, np.exp(1j * angle) * TRUTH, WHOLE)
            assert scores.psnr_phase == pytest.approx(expected)

    def test_nothing_outside_the_region_counts(self) -> None:
        """REC-040"""
        region = (slice(10, 60), slice(30, 90))
        noisy = TRUTH + 0.1 * noise()
        spoilt = np.full_like(TRUTH, np.nan)
        spoilt[region] = noisy[region]
        expected = score_object(noisy, TRUTH, region)
        cropped = score_object(noisy[region], TRUTH[region], WHOLE)
        for scores in (score_object(spoilt, TRUTH, region), cropped):
            assert figures(scores) == figures(expected)
            np.testing.assert_array_equal(scores.frc.correlation, expected.frc.correlation)

    def test_a_flat_truth_has_no_score(self) -> None:
        """A pure phase object: its amplitude gives nothing to compare."""
        truth = (0.7 * np.exp(1j * np.angle(TRUTH))).astype(np.complex64)
        scores = score_object(truth + 0.01 * noise(), truth, WHOLE)
        assert np.isnan(scores.ssim_amplitude)
        assert np.isnan(scores.psnr_amplitude)
        assert scores.ssim_phase > 0.99

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="the region has 15 × 50 px but needs 16"):
            score_object(TRUTH, TRUTH, (slice(0, 15), slice(0, 50)))
        with pytest.raises(ValueError, match="must agree"):
            score_object(TRUTH[:60], TRUTH, (slice(0, 50), slice(0, 50)))


class TestRings:
    def test_equal_images(self) -> None:
        curve = fourier_ring_correlation(TRUTH, TRUTH)
        np.testing.assert_allclose(curve.correlation, 1)
        assert curve.resolution_px == 2.0
        np.testing.assert_allclose(curve.frequency_cycles_per_px, np.arange(46) / 90)

    def test_independent_noise_lies_below(self) -> None:
        below = []
        for seed in range(5):
            curve = fourier_ring_correlation(noise(2 * seed), noise(2 * seed + 1))
            below.append(curve.correlation[1:] < curve.half_bit[1:])
        assert np.mean(below) > 0.97

    def test_noise_of_equal_power_gives_one_half(self) -> None:
        """Signal and noise of equal power in each image: SNR / (SNR + 1) = 1/2 in every ring."""
        shape = (256, 200)
        signal = noise(0, shape)
        curve = fourier_ring_correlation(signal + noise(1, shape), signal + noise(2, shape))
        assert curve.correlation[20:].mean() == pytest.approx(0.5, abs=0.02)
        assert (curve.correlation[20:] > curve.half_bit[20:]).all()

    def test_the_threshold(self) -> None:
        """REC-041: by hand for the 8 pixels round the centre; towards 0.2071 / 1.2071 outwards."""
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, 1025) / 1025)
        part = (window**2).sum() ** 2 / (window.size * (window**4).sum())
        assert part == pytest.approx(18 / 35, abs=1e-3)
        root = np.sqrt(8 * part)
        curve = fourier_ring_correlation(*2 * (np.ones((1024, 1024)),))
        expected = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
        assert curve.half_bit[1] == pytest.approx(expected, rel=1e-6)
        assert curve.half_bit[-1] == pytest.approx(0.2071 / 1.2071, abs=0.04)

    def test_the_period_at_which_common_detail_ends(self) -> None:
        """Equal below 0.2 cycles per pixel, independent above: 5 px, on rings of either axis."""
        shape = (120, 160)
        radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
        spectra = [np.where(radius < 0.2, noise(0, shape), noise(seed, shape)) for seed in (1, 2)]
        images = [np.fft.ifft2(spectrum) for spectrum in spectra]
        for a, b in (images, [image.T for image in images]):
            assert fourier_ring_correlation(a, b).resolution_px == pytest.approx(5, rel=0.06)

    def test_edges_do_not_correlate(self) -> None:
        """Without a window the jump between opposite edges is a detail common to both."""
        slope = 20 * np.arange(110) / 110
        curve = fourier_ring_correlation(slope + noise(0), slope + noise(1))
        assert (curve.correlation < curve.half_bit)[8:].mean() > 0.9

    def test_an_image_of_zeros(self) -> None:
        curve = fourier_ring_correlation(0 * TRUTH, TRUTH)
        assert not curve.correlation.any()
        assert curve.resolution_px == 90


class TestRegion:
    def test_rows_are_y_and_columns_are_x(self) -> None:
        x_px, y_px = np.array([30.2, 70.0, 50.0]), np.array([10.0, 12.0, 40.9])
        assert scan_region(x_px, y_px, (200, 300)) == (slice(10, 41), slice(31, 71))
        moved = scan_region(x_px, y_px, (200, 300), origin_px=(20.5, -5.0))
        assert moved == (slice(15, 46), slice(10, 50))

    def test_stays_in_the_canvas(self) -> None:
        x_px, y_px = np.array([-9.0, 90.0]), np.array([-3.0, 55.0])
        assert scan_region(x_px, y_px, (40, 60)) == (slice(0, 40), slice(0, 60))

    def test_lies_in_the_light_of_a_simulated_scan(self) -> None:
        scan, truth = simulate(SimulationSpec(N=32, n_patterns=64, n_photons=1e3))
        rows, columns = scan_region(scan.x_px, scan.y_px, truth.object_YX.shape)
        for part, position, length in zip(
            (rows, columns), (scan.y_px, scan.x_px), truth.object_YX.shape, strict=True
        ):
            assert position.min() <= part.start < position.min() + 1
            assert position.max() - 1 < part.stop - 1 <= position.max()
            assert 16 <= part.start < part.stop <= length - 16

    @pytest.mark.parametrize(
        ("x_px", "origin_px", "message"),
        [
            ([0.0, 14.9], (0.0, 0.0), "has 41 × 15 px but needs 16"),
            ([0.0, 50.0], (500.0, 0.0), "has 41 × 0 px"),
            ([0.0, np.nan], (0.0, 0.0), "must be finite"),
            ([], (0.0, 0.0), "at least one position"),
        ],
    )
    def test_refusals(
        self, x_px: list[float], origin_px: tuple[float, float], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            scan_region(np.array(x_px), np.array([0.0, 40.0]), (200, 200), origin_px)


def test_only_scores_load_torch() -> None:
    code = "import ptycho_dist.reconstruction.scores, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANG_S)


def figures(scores: ObjectScores) -> tuple[float, ...]:
    return (
        scores.ssim_amplitude,
        scores.ssim_phase,
        scores.psnr_amplitude,
        scores.psnr_phase,
        scores.frc.resolution_px,
    )


def assert_bad(scores: ObjectScores) -> None:
    assert max(scores.ssim_amplitude, scores.ssim_phase) < 0.2
    assert scores.psnr_amplitude < 12
    assert scores.psnr_phase < 12
    assert scores.frc.resolution_px > 20
