"""The samples of a scan, as a torch dataset: one sample is one group of patterns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from ptycho_dist.data.canvas import CanvasLayout, canvas_layout
from ptycho_dist.data.formats import ScanData


class GroupSample(TypedDict):
    """One group.

    amplitude_CHW: float32, measured amplitude, sqrt(counts), centred.
    corner_C2: int64, (x, y) canvas pixel of pixel [0, 0] of each patch.
    rest_C2: float32, (x, y), px, position minus nearest whole pixel.
    index: int64, 0-d, the number of the group.
    label_CHW: complex64, object patches to learn from, relative to their mean transmission; no
        pixels (C, 0, 0) where the scan has none.
    """

    amplitude_CHW: torch.Tensor
    corner_C2: torch.Tensor
    rest_C2: torch.Tensor
    index: torch.Tensor
    label_CHW: torch.Tensor


class GroupBatch(TypedDict):
    """B groups, stacked; B may be 0. See `GroupSample` for units."""

    amplitude_BCHW: torch.Tensor
    corner_BC2: torch.Tensor
    rest_BC2: torch.Tensor
    index_B: torch.Tensor
    label_BCHW: torch.Tensor


class GroupDataset(Dataset[GroupSample]):
    """The groups of a scan, held in memory.

    Each group has a canvas of its own, as in training, or all lie on the canvas of the scan, as in
    a reconstruction.

    Each pattern is stored once however many groups hold it. `collate` stacks what `__getitem__` or
    `__getitems__` returns, also for an empty list: the ragged last batch of an epoch leaves some
    ranks without a sample, and these still run the network, on B = 0.
    """

    def __init__(self, scan: ScanData, groups_GC: np.ndarray, *, one_canvas: bool = False) -> None:
        """
        Args:
            scan: patterns, positions, probe.
            groups_GC: (G, C) int64 pattern indices below M, as `build_groups` makes them.
            one_canvas: corners are those on the canvas of the whole scan.

        Raises ValueError when the indices do not fit the scan.
        """
        if groups_GC.ndim != 2 or groups_GC.size == 0:
            raise ValueError(f"groups have shape {groups_GC.shape}, not (G, C)")
        if groups_GC.min() < 0 or groups_GC.max() >= scan.n_patterns:
            raise ValueError(f"a group names a pattern outside 0..{scan.n_patterns - 1}")
        self._groups_GC = groups_GC
        self._amp_MHW = torch.from_numpy(scan.diffraction_amp_MHW)
        self._probe_PHW = torch.from_numpy(scan.probe_PHW)
        self._label_MHW = torch.from_numpy(_relative_labels(scan))
        self.layout: CanvasLayout = canvas_layout(scan.x_px, scan.y_px, scan.N)
        """Canvas of the whole scan."""
        corner_GC2 = self.layout.corner_M2[groups_GC]
        self.canvas_shape_YX = self.layout.shape_YX
        """Rows and columns of each canvas; without `one_canvas` the largest group just fits."""
        if not one_canvas:
            corner_GC2 = corner_GC2 - corner_GC2.min(axis=1, keepdims=True)
            width, height = (int(length) + scan.N for length in corner_GC2.max(axis=(0, 1)))
            self.canvas_shape_YX = (height, width)
        self._corner_GC2 = torch.from_numpy(corner_GC2)
        self._rest_GC2 = torch.from_numpy(self.layout.rest_M2[groups_GC].astype(np.float32))
        times_M = np.bincount(groups_GC.ravel(), minlength=scan.n_patterns)
        self._share_GC = torch.from_numpy((1 / times_M[groups_GC]).astype(np.float32))
        # (M,) float64: each used pattern counts once, however many groups hold it
        counts_M = np.array(
            [
                np.sum(amp_HW.astype(np.float64) ** 2)
                for amp_HW in scan.diffraction_amp_MHW[np.unique(groups_GC)]
            ]
        )
        self._mean_total_counts = float(counts_M.mean())
        if self._mean_total_counts == 0:
            raise ValueError("the patterns of these groups are zero everywhere")

    def __len__(self) -> int:
        """Number of groups, G."""
        return int(self._groups_GC.shape[0])

    def __getitem__(self, index: int) -> GroupSample:
        """Group `index`, 0 <= index < G. Raises IndexError outside."""
        if not 0 <= index < len(self):
            raise IndexError(f"group {index} of {len(self)}")
        return GroupSample(
            amplitude_CHW=self._amp_MHW[self._groups_GC[index]],
            corner_C2=self._corner_GC2[index],
            rest_C2=self._rest_GC2[index],
            index=torch.tensor(index, dtype=torch.int64),
            label_CHW=self._label_MHW[self._groups_GC[index]],
        )

    def __getitems__(self, indices: Sequence[int]) -> list[GroupSample]:
        """The groups `indices`, in that order; an empty list for no index."""
        return [self[index] for index in indices]

    def collate(self, samples: Sequence[GroupSample]) -> GroupBatch:
        """Stack samples of this dataset along a leading axis B.

        No samples give tensors with B = 0 and the same trailing shapes and dtypes.
        """
        if not samples:
            channels = self.group_size
            return GroupBatch(
                amplitude_BCHW=self._amp_MHW.new_empty((0, channels, *self._amp_MHW.shape[1:])),
                corner_BC2=self._corner_GC2.new_empty((0, channels, 2)),
                rest_BC2=self._rest_GC2.new_empty((0, channels, 2)),
                index_B=torch.empty(0, dtype=torch.int64),
                label_BCHW=self._label_MHW.new_empty((0, channels, *self._label_MHW.shape[1:])),
            )
        return GroupBatch(
            amplitude_BCHW=torch.stack([sample["amplitude_CHW"] for sample in samples]),
            corner_BC2=torch.stack([sample["corner_C2"] for sample in samples]),
            rest_BC2=torch.stack([sample["rest_C2"] for sample in samples]),
            index_B=torch.stack([sample["index"] for sample in samples]),
            label_BCHW=torch.stack([sample["label_CHW"] for sample in samples]),
        )

    def share_BC(self, index_B: torch.Tensor) -> torch.Tensor:
        """One over how often all groups hold each pattern of these groups, float32.

        Sums over all groups that are weighted so count each used pattern once.
        """
        return self._share_GC[index_B]

    @property
    def group_size(self) -> int:
        """Patterns of a group, C."""
        return int(self._groups_GC.shape[1])

    @property
    def n_patterns(self) -> int:
        """Patterns of the scan, M, whether or not a group uses them."""
        return int(self._amp_MHW.shape[0])

    @property
    def probe_PHW(self) -> torch.Tensor:
        """The probe of the scan, (P, N, N) complex64, in the scale of the file."""
        return self._probe_PHW

    @property
    def mean_total_counts(self) -> float:
        """Mean over the used patterns of ΣA², counts per pattern."""
        return self._mean_total_counts

    @property
    def normalisation(self) -> float:
        """s = sqrt(N² / mean ΣA²), over the used patterns; the network sees s·A.

        By Parseval's theorem s·A has a mean square of 1 per pixel, whatever the photon count.
        """
        size = self._amp_MHW.shape[-1]
        return float(size / np.sqrt(self._mean_total_counts))


def _relative_labels(scan: ScanData) -> np.ndarray:
    """(M, N, N) complex64 labels over their root mean square as the probe lights them (DATA-083).

    So they have the unit of the predicted object; (M, 0, 0) without labels.
    """
    if scan.label_MHW is None:
        return np.empty((scan.n_patterns, 0, 0), dtype=np.complex64)
    lit_HW = np.sum(np.abs(scan.probe_PHW) ** 2, axis=0)
    seen = np.mean([np.sum(lit_HW * np.abs(label_HW) ** 2) for label_HW in scan.label_MHW])
    if not seen > 0:
        raise ValueError("the labels are zero wherever the probe lights them")
    return scan.label_MHW * np.float32(np.sqrt(lit_HW.sum() / seen))
