"""The forward model against a Fourier sum written out (section 7 of the data contract)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_dist.physics.forward import diffraction_amplitude, modulus_step, probe_scale


def complex_normal(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)


def amplitude_by_hand(patches_BCHW: np.ndarray, probe_PHW: np.ndarray) -> np.ndarray:
    """The far field as a sum over pixels, frequencies counted from -N/2 at the first pixel.

    Independent of any FFT and of its shifts: the matrix is written for centred frequencies.
    """
    size = probe_PHW.shape[-1]
    frequency = np.arange(size) - size // 2
    dft = np.exp(-2j * np.pi * np.outer(frequency, np.arange(size)) / size) / np.sqrt(size)
    intensity = np.zeros(patches_BCHW.shape)
    for mode_HW in probe_PHW:
        far_field = np.einsum("uh,bchw,vw->bcuv", dft, patches_BCHW * mode_HW, dft)
        intensity += far_field.real**2 + far_field.imag**2
    return np.sqrt(intensity)


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("modes", [1, 3])
def test_against_a_fourier_sum_written_out(size: int, modes: int) -> None:
    """DATA-080: orthonormal, centred, modes added as intensities; complex64 to 1e-5."""
    patches, probe = complex_normal(2, 3, size, size), 5 * complex_normal(modes, size, size, seed=1)
    predicted = diffraction_amplitude(
        torch.from_numpy(patches).to(torch.complex64), torch.from_numpy(probe).to(torch.complex64)
    )
    assert predicted.dtype == torch.float32
    assert predicted.shape == (2, 3, size, size)
    expected = amplitude_by_hand(patches, probe)
    error = np.abs(predicted.numpy() - expected)
    assert error.max() < 1e-5 * expected.max()
    exact = diffraction_amplitude(torch.from_numpy(patches), torch.from_numpy(probe)).numpy()
    np.testing.assert_allclose(exact**2 - 1e-8, expected**2, rtol=1e-9, atol=1e-9)


def test_a_flat_object_and_probe_light_the_centre_pixel() -> None:
    """DATA-080: the zero frequency lies at [N/2, N/2]."""
    flat = torch.ones(1, 1, 8, 8, dtype=torch.complex64)
    amplitude = diffraction_amplitude(flat, 3 * flat[0])[0, 0]
    assert divmod(int(amplitude.argmax()), 8) == (4, 4)
    assert amplitude[4, 4] == pytest.approx(3 * 8)


def test_a_phase_ramp_moves_the_pattern_along_its_axis() -> None:
    """DATA-080: rows are H, columns W, and a rising phase moves to higher indices."""
    ramp = torch.exp(2j * torch.pi * torch.arange(8) / 8).to(torch.complex64)
    probe = torch.ones(1, 8, 8, dtype=torch.complex64)
    for patch, place in ((ramp[:, None].expand(8, 8), (5, 4)), (ramp.expand(8, 8), (4, 5))):
        amplitude = diffraction_amplitude(patch[None, None], probe)
        assert divmod(int(amplitude.argmax()), 8) == place


def test_counts_are_conserved() -> None:
    """DATA-081 (Parseval): the pattern holds the photons of the exit wave."""
    patches = torch.from_numpy(complex_normal(2, 1, 16, 16))
    probe = torch.from_numpy(complex_normal(2, 16, 16, seed=1))
    total = (diffraction_amplitude(patches, probe) ** 2).sum(dim=(1, 2, 3))
    exit_wave = patches[:, 0, None] * probe
    torch.testing.assert_close(
        total, exit_wave.abs().square().sum(dim=(1, 2, 3)), rtol=1e-6, atol=0
    )


def test_the_gradient_is_right() -> None:
    """With respect to object and probe, in double precision."""
    patches = torch.from_numpy(complex_normal(1, 2, 4, 4)).requires_grad_()
    probe = torch.from_numpy(complex_normal(2, 4, 4, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(diffraction_amplitude, (patches, probe))


def test_the_gradient_is_finite_where_the_pattern_is_dark() -> None:
    patches = torch.zeros(1, 1, 8, 8, dtype=torch.complex64, requires_grad=True)
    probe = torch.ones(1, 8, 8, dtype=torch.complex64)
    diffraction_amplitude(patches, probe).sum().backward()
    assert patches.grad is not None
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


def test_no_groups() -> None:
    """DATA-082: B = 0, forward and backward."""
    patches = torch.zeros(0, 4, 8, 8, dtype=torch.complex64, requires_grad=True)
    probe = torch.ones(2, 8, 8, dtype=torch.complex64, requires_grad=True)
    amplitude = diffraction_amplitude(patches, probe)
    assert amplitude.shape == (0, 4, 8, 8)
    assert amplitude.dtype == torch.float32
    amplitude.sum().backward()
    assert probe.grad is not None
    assert not probe.grad.any()


def test_detector_axes_that_disagree_are_refused() -> None:
    patches = torch.ones(1, 1, 8, 8, dtype=torch.complex64)
    for probe in (torch.ones(1, 1, 1), torch.ones(1, 4, 8), torch.ones(1, 8, 1)):
        with pytest.raises(ValueError, match="differ in H, W"):
            diffraction_amplitude(patches, probe.to(torch.complex64))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scaled_probe_predicts_the_mean_brightness(scale: float) -> None:
    """DATA-083: whatever scale the file's probe has, modes keep their ratio and phase."""
    probe = torch.from_numpy(complex_normal(3, 8, 8)).to(torch.complex64)
    scaled = probe_scale(scale * probe, 12345.0)
    assert scaled.dtype == torch.complex64
    flat = torch.ones(1, 1, 8, 8, dtype=torch.complex64)
    assert (diffraction_amplitude(flat, scaled) ** 2).sum() == pytest.approx(12345, rel=1e-5)
    ratio = scaled / probe
    torch.testing.assert_close(ratio, ratio.real.mean().expand_as(ratio).to(torch.complex64))


def test_a_probe_or_count_of_zero_cannot_be_scaled() -> None:
    probe = torch.ones(1, 8, 8, dtype=torch.complex64)
    for bad_probe, count in ((0 * probe, 1.0), (probe, 0.0), (probe, float("nan"))):
        with pytest.raises(ValueError, match="above zero"):
            probe_scale(bad_probe, count)


def test_the_modulus_step_written_out() -> None:
    """REC-013: each patch with a probe of its own, modes sharing the measured amplitude."""
    patches, measured = complex_normal(2, 3, 8, 8), 5 * np.abs(complex_normal(2, 3, 8, 8, seed=2))
    probe = 4 * complex_normal(2, 3, 2, 8, 8, seed=1)
    step = modulus_step(*(torch.from_numpy(each) for each in (patches, probe, measured))).numpy()
    for b in range(2):
        for c in range(3):
            exit_PHW = patches[b, c] * probe[b, c]
            far_PHW = np.fft.fftshift(np.fft.fft2(exit_PHW, norm="ortho"), axes=(-2, -1))
            predicted_HW = np.sqrt((np.abs(far_PHW) ** 2).sum(axis=0) + 0.01)
            far_PHW = far_PHW * measured[b, c] / predicted_HW
            wanted_PHW = np.fft.ifft2(np.fft.ifftshift(far_PHW, axes=(-2, -1)), norm="ortho")
            lit_HW = (np.abs(probe[b, c]) ** 2).sum(axis=0)
            change_HW = (probe[b, c].conj() * (wanted_PHW - exit_PHW)).sum(axis=0)
            expected_HW = change_HW / (0.95 * lit_HW + 0.05 * lit_HW.max())
            np.testing.assert_allclose(step[b, c], expected_HW, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_the_modulus_step_is_right_and_finite_in_the_dark() -> None:
    patches = torch.from_numpy(complex_normal(1, 1, 4, 4)).requires_grad_()
    probe = torch.from_numpy(2 * complex_normal(1, 1, 2, 4, 4, seed=1)).requires_grad_()
    measured = torch.from_numpy(np.abs(complex_normal(1, 1, 4, 4, seed=2)))
    assert torch.autograd.gradcheck(lambda o, p: modulus_step(o, p, measured), (patches, probe))
    dark = torch.zeros(1, 1, 4, 4, dtype=torch.complex128, requires_grad=True)
    modulus_step(dark, probe.detach(), 300 * measured).abs().sum().backward()
    assert dark.grad is not None
    assert torch.isfinite(torch.view_as_real(dark.grad)).all()


def test_no_groups_make_no_step() -> None:
    """REC-003, DATA-082"""
    probe = torch.ones(0, 3, 2, 8, 8, dtype=torch.complex64, requires_grad=True)
    patches = torch.ones(0, 3, 8, 8, dtype=torch.complex64, requires_grad=True)
    step = modulus_step(patches, probe, torch.ones(0, 3, 8, 8))
    assert (step.shape, step.dtype) == ((0, 3, 8, 8), torch.complex64)
    step.abs().sum().backward()
    assert probe.grad is not None
    assert patches.grad is not None
