"""A small, plain rPIE: the iterative reference with which the networks are compared.

It follows Maiden, Johnson & Li, Optica 4, 736 (2017): one pattern after the other, in a new random
order in each iteration, with the modulus constraint and the regularised updates

    O += P*·(ψ' - ψ) / ((1 - α)·Σ|P|² + α·max Σ|P|²)
    P += O*·(ψ' - ψ) / ((1 - β)·|O|² + β·max |O|²)      (only when the probe is refined)

Positions between pixels move the probe, as in the networks' forward model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ptycho_dist.data.canvas import CanvasLayout, canvas_layout
from ptycho_dist.data.formats import ScanData

_DARK = 1e-9


class RPIE:
    """The state of a reconstruction: object, probe, and the number of iterations so far."""

    def __init__(
        self,
        scan: ScanData,
        probe_PHW: np.ndarray,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        refine_probe: bool = False,
        seed: int = 0,
    ) -> None:
        """Start with a flat object; the probe, of any scale, gets the patterns' mean brightness."""
        self.layout: CanvasLayout = canvas_layout(scan.x_px, scan.y_px, scan.N)
        self.object_YX = np.ones(self.layout.shape_YX, np.complex128)
        counts = float((scan.diffraction_amp_MHW.astype(np.float64) ** 2).sum(axis=(1, 2)).mean())
        energy = float((np.abs(probe_PHW) ** 2).sum())
        self.probe_PHW = probe_PHW.astype(np.complex128) * math.sqrt(counts / energy)
        self._amp_MHW = np.fft.ifftshift(scan.diffraction_amp_MHW, axes=(-2, -1))
        self._alpha, self._beta, self._refine_probe = alpha, beta, refine_probe
        self._order = np.random.default_rng(seed)
        frequency = np.fft.fftfreq(scan.N)
        self._frequency_HW = frequency[:, None], frequency[None, :]

    def iterations(self, count: int) -> Iterator[int]:
        """Run the iterations and yield the number of each when it is done."""
        for number in range(1, count + 1):
            for pattern in self._order.permutation(len(self._amp_MHW)):
                self._update(int(pattern))
            yield number

    def _update(self, pattern: int) -> None:
        size = self.probe_PHW.shape[-1]
        left, top = self.layout.corner_M2[pattern]
        window = slice(top, top + size), slice(left, left + size)
        rest_x, rest_y = self.layout.rest_M2[pattern]
        along_y, along_x = self._frequency_HW
        turn_HW = np.exp(-2j * np.pi * (rest_y * along_y + rest_x * along_x))
        probe_PHW = np.fft.ifft2(np.fft.fft2(self.probe_PHW) * turn_HW)
        patch_HW = self.object_YX[window].copy()
        exit_PHW = patch_HW * probe_PHW
        far_PHW = np.fft.fft2(exit_PHW, norm="ortho")
        predicted_HW = np.sqrt((np.abs(far_PHW) ** 2).sum(axis=0))
        far_PHW *= self._amp_MHW[pattern] / (predicted_HW + _DARK)
        change_PHW = np.fft.ifft2(far_PHW, norm="ortho") - exit_PHW
        lit_HW = (np.abs(probe_PHW) ** 2).sum(axis=0)
        self.object_YX[window] += (probe_PHW.conj() * change_PHW).sum(axis=0) / (
            (1 - self._alpha) * lit_HW + self._alpha * lit_HW.max()
        )
        if self._refine_probe:
            through_HW = np.abs(patch_HW) ** 2
            change_PHW *= patch_HW.conj() / (
                (1 - self._beta) * through_HW + self._beta * through_HW.max()
            )
            self.probe_PHW += np.fft.ifft2(np.fft.fft2(change_PHW) * turn_HW.conj())
