"""Forward model: from object patches and a probe to the amplitude that a detector records.

    ψ_p = O · P_p                          exit wave of probe mode p (projection approximation)
    I   = Σ_p |FFT₂ ψ_p|² / (H·W)          far field (Fraunhofer), modes add incoherently
    Â   = sqrt(fftshift I)

The factor 1/(H·W) makes the transform orthonormal, so by Parseval's theorem Σ I = Σ_p Σ |O·P_p|²: a
probe whose Σ|P|² is a number of photons gives I in counts and Â in sqrt(counts), the unit of the
measured amplitude. No other scale stands between prediction and measurement; the network's input
scale s applies only to its input. Sum over modes: Thibault & Menzel, Nature 494, 68 (2013).
"""

from __future__ import annotations

import torch

_EPS_COUNTS = 1e-8
_EPS_STEP_COUNTS = 1e-2
_STEP_ALPHA = 0.05


def diffraction_amplitude(
    object_patches_BCHW: torch.Tensor,
    probe_BCPHW: torch.Tensor,
    envelope_HW: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the amplitude on the detector.

    1e-8 counts are added under the root, so that dark pixels give 1e-4 and a gradient of zero
    instead of NaN.

    Args:
        object_patches_BCHW: Complex transmission of each patch, complex64 (complex128 for tests);
            B may be 0.
        probe_BCPHW: Complex modes of each patch, or (P, H, W) for all; same H and W, sqrt(counts).
        envelope_HW: Real factor of the far field, zero frequency at [0, 0]; see
            `smoothing_envelope`.

    Returns:
        (B, C, H, W) real, in the unit of the probe, zero frequency at [H/2, W/2].

    Raises:
        ValueError: The detector axes of patches and probe differ.
    """
    if object_patches_BCHW.shape[-2:] != probe_BCPHW.shape[-2:]:
        raise ValueError(
            f"patches {tuple(object_patches_BCHW.shape)} and probe {tuple(probe_BCPHW.shape)} "
            "differ in H, W"
        )
    exit_wave_BCPHW = object_patches_BCHW.unsqueeze(2) * probe_BCPHW
    if exit_wave_BCPHW.shape[0] == 0:  # MKL refuses an empty transform
        intensity_BCHW = (exit_wave_BCPHW.real**2 + exit_wave_BCPHW.imag**2).sum(dim=2)
    else:
        far_field_BCPHW = torch.fft.fft2(exit_wave_BCPHW, norm="ortho")
        if envelope_HW is not None:
            far_field_BCPHW = far_field_BCPHW * envelope_HW
        intensity_BCHW = (far_field_BCPHW.real**2 + far_field_BCPHW.imag**2).sum(dim=2)
    return torch.sqrt(torch.fft.fftshift(intensity_BCHW, dim=(-2, -1)) + _EPS_COUNTS)


def smoothing_envelope(size: int, sigma_px: float) -> torch.Tensor:
    """Compute exp(-2π²σ²f²), the Fourier transform of a Gaussian of width σ.

    Multiplying the far field by it smooths the exit wave by the Gaussian (convolution theorem).

    Args:
        size: Rows and columns.
        sigma_px: σ in px.

    Returns:
        (size, size) float32, zero frequency at [0, 0].
    """
    frequency = torch.fft.fftfreq(size, dtype=torch.float64)
    squared_HW = frequency[:, None] ** 2 + frequency**2
    return torch.exp(-2 * (torch.pi * sigma_px) ** 2 * squared_HW).float()


def probe_scale(probe_PHW: torch.Tensor, mean_total_counts: float) -> torch.Tensor:
    """Rescale the probe so that Σ_p Σ|P_p|² = `mean_total_counts`.

    The probes of scan files have arbitrary scales. With the rescaled probe an object of unit
    amplitude predicts patterns that are on average as bright as the measured ones (Parseval). Only
    the product of probe and object is measured, so the object is relative to its own mean
    transmission: an object that absorbs half of the light everywhere is reconstructed as 1.

    Args:
        probe_PHW: Complex modes of any scale.
        mean_total_counts: Mean of ΣA² over the patterns, in counts, above 0.

    Returns:
        (P, H, W) complex.

    Raises:
        ValueError: The probe is zero everywhere, or the count is not positive.
    """
    energy = (probe_PHW.real**2 + probe_PHW.imag**2).sum()
    if not mean_total_counts > 0 or not bool(energy > 0):
        raise ValueError("the probe and the mean count must both be above zero")
    return probe_PHW * torch.sqrt(mean_total_counts / energy)


def modulus_step(
    object_BCHW: torch.Tensor, probe_BCPHW: torch.Tensor, measured_amp_BCHW: torch.Tensor
) -> torch.Tensor:
    """Compute how each patch must change to predict the measured amplitude.

        Ψ_p = F(O·P_p),   ψ'_p = F⁻¹[ A·Ψ_p / sqrt(Σ_q |Ψ_q|² + 0.01) ]
        g = Σ_p P_p*·(ψ'_p - O·P_p) / (0.95·Σ_p |P_p|² + 0.05·max_r Σ_p |P_p|²)

    This is the object update of the regularised ptychographical iterative engine with step 1 for
    one pattern (Maiden, Johnson & Li, Optica 4, 736 (2017)), with modes as in Thibault & Menzel
    (2013). The 0.01 counts bound the gradient where the prediction is dark.

    Args:
        object_BCHW: Complex object patches; B may be 0.
        probe_BCPHW: Complex modes of each patch, sqrt(counts).
        measured_amp_BCHW: A, sqrt(counts), zero frequency at [H/2, W/2].

    Returns:
        g, (B, C, H, W) complex.
    """
    if object_BCHW.shape[0] == 0:
        return object_BCHW * probe_BCPHW.sum(dim=2)  # empty, but connected for the gradient
    exit_wave = object_BCHW.unsqueeze(2) * probe_BCPHW
    far_field = torch.fft.fft2(exit_wave, norm="ortho")
    intensity = (far_field.real**2 + far_field.imag**2).sum(dim=2, keepdim=True)
    measured = torch.fft.ifftshift(measured_amp_BCHW, dim=(-2, -1)).unsqueeze(2)
    corrected = torch.fft.ifft2(
        far_field * (measured / torch.sqrt(intensity + _EPS_STEP_COUNTS)), norm="ortho"
    )
    lit = (probe_BCPHW.real**2 + probe_BCPHW.imag**2).sum(dim=2)
    step = (probe_BCPHW.conj() * (corrected - exit_wave)).sum(dim=2)
    brightest = lit.amax(dim=(-2, -1), keepdim=True)
    return step / ((1 - _STEP_ALPHA) * lit + _STEP_ALPHA * brightest)
