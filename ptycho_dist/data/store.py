"""The samples of a scan as a torch dataset; one sample is one group of patterns."""

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

    Attributes:
        amplitude_CHW: float32, measured amplitude, sqrt(counts), centred.
        corner_C2: int64, the (x, y) canvas pixel under pixel [0, 0] of each patch.
        rest_C2: float32, (x, y) position minus nearest whole pixel, px.
        index: int64, 0-d, number of the group.
        label_CHW: complex64, object patches for supervised training, relative to their mean
            transmission; of shape (C, 0, 0) if the scan has none.
    """

    amplitude_CHW: torch.Tensor
    corner_C2: torch.Tensor
    rest_C2: torch.Tensor
    index: torch.Tensor
    label_CHW: torch.Tensor


class GroupBatch(TypedDict):
    """A stack of B groups; B may be 0. See `GroupSample` for units."""

    amplitude_BCHW: torch.Tensor
    corner_BC2: torch.Tensor
    rest_BC2: torch.Tensor
    index_B: torch.Tensor
    label_BCHW: torch.Tensor


class GroupDataset(Dataset[GroupSample]):
    """The groups of a scan, held in memory.

    Each group has its own canvas, as in training, or all share the canvas of the scan, as in a
    reconstruction.

    Each pattern is stored once, no matter how many groups contain it. `collate` also stacks an
    empty list: in the ragged last batch of an epoch some ranks get no sample, and they still run
    the network with B = 0.
    """

    def __init__(self, scan: ScanData, groups_GC: np.ndarray, *, one_canvas: bool = False) -> None:
        """Check the groups and place their patches.

        Args:
            scan: Patterns, positions and probe.
            groups_GC: (G, C) int64 pattern indices below M, as `build_groups` makes them.
            one_canvas: Whether all groups lie on the canvas of the whole scan.

        Raises:
            ValueError: The indices do not fit the scan, or its patterns are zero.
        """
        if groups_GC.ndim != 2 or groups_GC.size == 0:
            raise ValueError(f"groups have shape {groups_GC.shape}, not (G, C)")
        if groups_GC.min() < 0 or groups_GC.max() >= scan.n_patterns:
            raise ValueError(f"a group has a pattern index outside 0..{scan.n_patterns - 1}")
        self._groups_GC = groups_GC
        self._amp_MHW = torch.from_numpy(scan.diffraction_amp_MHW)
        self._probe_PHW = torch.from_numpy(scan.probe_PHW)
        self._label_MHW = torch.from_numpy(_relative_labels(scan))
        self.layout: CanvasLayout = canvas_layout(scan.x_px, scan.y_px, scan.N)
        """Layout of the canvas of the whole scan."""
        corner_GC2 = self.layout.corner_M2[groups_GC]
        self.canvas_shape_YX = self.layout.shape_YX
        """Rows and columns of each canvas; without `one_canvas`, those of the largest group."""
        if not one_canvas:
            corner_GC2 = corner_GC2 - corner_GC2.min(axis=1, keepdims=True)
            width, height = (int(length) + scan.N for length in corner_GC2.max(axis=(0, 1)))
            self.canvas_shape_YX = (height, width)
        self._corner_GC2 = torch.from_numpy(corner_GC2)
        self._rest_GC2 = torch.from_numpy(self.layout.rest_M2[groups_GC].astype(np.float32))
        times_M = np.bincount(groups_GC.ravel(), minlength=scan.n_patterns)
        self._share_GC = torch.from_numpy((1 / times_M[groups_GC]).astype(np.float32))
        # (M,) float64: each used pattern counts once, no matter how many groups contain it
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
        """Return group `index`, 0 <= index < G.

        Raises:
            IndexError: There is no such group.
        """
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
        """Return the groups with these indices, in that order."""
        return [self[index] for index in indices]

    def collate(self, samples: Sequence[GroupSample]) -> GroupBatch:
        """Stack samples of this dataset along a leading axis B.

        An empty list gives tensors with B = 0 and the same trailing shapes and dtypes.
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
        """Return one over the number of groups that contain each pattern of these groups, float32.

        Sums over all groups with these weights count each used pattern once.
        """
        return self._share_GC[index_B]

    @property
    def group_size(self) -> int:
        """Number C of patterns in a group."""
        return int(self._groups_GC.shape[1])

    @property
    def n_patterns(self) -> int:
        """Number M of patterns in the scan, whether or not a group uses them."""
        return int(self._amp_MHW.shape[0])

    @property
    def probe_PHW(self) -> torch.Tensor:
        """Probe of the scan, (P, N, N) complex64, in the scale of the file."""
        return self._probe_PHW

    @property
    def mean_total_counts(self) -> float:
        """Mean of ΣA² over the used patterns, in counts per pattern."""
        return self._mean_total_counts


def _relative_labels(scan: ScanData) -> np.ndarray:
    """Divide the labels by their root mean square, weighted with the probe's intensity (DATA-083).

    The result has the unit of the predicted object.

    Returns:
        (M, N, N) complex64, or (M, 0, 0) if the scan has no labels.
    """
    if scan.label_MHW is None:
        return np.empty((scan.n_patterns, 0, 0), dtype=np.complex64)
    lit_HW = np.sum(np.abs(scan.probe_PHW) ** 2, axis=0)
    seen = np.mean([np.sum(lit_HW * np.abs(label_HW) ** 2) for label_HW in scan.label_MHW])
    if not seen > 0:
        raise ValueError("the labels are zero wherever the probe illuminates them")
    return scan.label_MHW * np.float32(np.sqrt(lit_HW.sum() / seen))
