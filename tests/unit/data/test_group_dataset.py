"""Samples and batches (section 5 of the data contract)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.scan_physics import ScanPhysics

GROUPS_GC = np.array([[3, 1], [0, 5], [7, 3]])


@pytest.fixture
def dataset(small_scan: ScanData) -> GroupDataset:
    return GroupDataset(small_scan, GROUPS_GC)


def test_a_sample(dataset: GroupDataset, small_scan: ScanData) -> None:
    """DATA-050, DATA-051: corners lie on the smallest canvas of the group, (x, y)."""
    sample = dataset[2]
    assert len(dataset) == 3
    assert set(sample) == {"amplitude_CHW", "corner_C2", "rest_C2", "index", "label_CHW"}
    assert sample["label_CHW"].shape[1:] == (0, 0)
    np.testing.assert_array_equal(sample["amplitude_CHW"], small_scan.diffraction_amp_MHW[[7, 3]])
    position_C2 = np.stack([small_scan.x_px, small_scan.y_px], axis=1)[[7, 3]]
    nearest_C2 = np.rint(position_C2)
    np.testing.assert_array_equal(sample["corner_C2"], nearest_C2 - nearest_C2.min(axis=0))
    np.testing.assert_allclose(sample["rest_C2"], position_C2 - nearest_C2, atol=1e-6)
    assert sample["amplitude_CHW"].dtype == sample["rest_C2"].dtype == torch.float32
    assert sample["corner_C2"].dtype == sample["index"].dtype == torch.int64
    assert int(sample["index"]) == 2


def test_a_canvas_holds_the_largest_group_or_the_scan(small_scan: ScanData) -> None:
    """DATA-051: and no row or column more."""
    xy_M2 = np.rint(np.stack([small_scan.x_px, small_scan.y_px], axis=1)).astype(int)
    own, shared = (
        GroupDataset(small_scan, GROUPS_GC, one_canvas=shared) for shared in (False, True)
    )
    spans_G2 = [np.ptp(xy_M2[group], axis=0) for group in GROUPS_GC]
    assert own.canvas_shape_YX == tuple(np.max(spans_G2, axis=0)[::-1] + 64)
    assert shared.canvas_shape_YX == tuple(np.ptp(xy_M2, axis=0)[::-1] + 64)
    assert shared.canvas_shape_YX == shared.layout.shape_YX
    for group, alone, together in zip(GROUPS_GC, own, shared, strict=False):
        corners = xy_M2[group] - xy_M2.min(axis=0)  # of all 40 patterns, also those of no group
        np.testing.assert_array_equal(together["corner_C2"], corners)
        np.testing.assert_array_equal(alone["corner_C2"], corners - corners.min(axis=0))
        torch.testing.assert_close(alone["rest_C2"], together["rest_C2"])


def test_weighted_by_its_share_each_used_pattern_counts_once(dataset: GroupDataset) -> None:
    """REC-033: pattern 3 is in two groups."""
    shares = dataset.share_BC(torch.tensor([2, 0, 1]))
    assert shares.tolist() == [[1.0, 0.5], [0.5, 1.0], [1.0, 1.0]]


def test_a_batch_and_an_empty_batch(dataset: GroupDataset) -> None:
    """DATA-052."""
    batch = dataset.collate(dataset.__getitems__([2, 0]))
    assert batch["index_B"].tolist() == [2, 0]
    torch.testing.assert_close(batch["amplitude_BCHW"][1], dataset[0]["amplitude_CHW"])
    torch.testing.assert_close(batch["rest_BC2"][0], dataset[2]["rest_C2"])
    torch.testing.assert_close(batch["corner_BC2"][1], dataset[0]["corner_C2"])
    empty = dataset.collate(dataset.__getitems__([]))
    assert set(empty) == set(batch)
    for name in batch:
        full_tensor, empty_tensor = batch[name], empty[name]  # type: ignore[literal-required]
        assert empty_tensor.shape == (0, *full_tensor.shape[1:]), name
        assert empty_tensor.dtype == full_tensor.dtype, name


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_serves_ragged_and_empty_batches(dataset: GroupDataset, workers: int) -> None:
    """DATA-052: through torch's own loader, in workers too."""
    loader: DataLoader[object] = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=[[1, 2], [], [0]],  # type: ignore[arg-type]
        collate_fn=dataset.collate,
        num_workers=workers,
    )
    assert [batch["index_B"].tolist() for batch in loader] == [  # type: ignore[index]
        [1, 2],
        [],
        [0],
    ]


def test_the_normalisation_is_that_of_the_used_patterns(
    dataset: GroupDataset, small_scan: ScanData
) -> None:
    """DATA-053: pattern 3 is in two groups and counts once; unused patterns do not count."""
    used_MHW = small_scan.diffraction_amp_MHW[[0, 1, 3, 5, 7]].astype(np.float64)
    assert dataset.mean_total_counts == pytest.approx((used_MHW**2).sum() / 5, rel=1e-12)
    physics = ScanPhysics(dataset.probe_PHW, dataset.mean_total_counts, trainable=False)
    scaled_MHW = physics.input_scale.double().numpy() * used_MHW
    assert np.mean(scaled_MHW**2) == pytest.approx(1, rel=1e-6)


def test_the_probe_is_that_of_the_file(dataset: GroupDataset, small_scan: ScanData) -> None:
    assert dataset.probe_PHW.dtype == torch.complex64
    np.testing.assert_array_equal(dataset.probe_PHW, small_scan.probe_PHW)


def test_groups_that_do_not_fit_the_scan(dataset: GroupDataset, small_scan: ScanData) -> None:
    for groups_GC in (np.array([[40]]), np.array([[-1]]), np.zeros((0, 1), int), np.arange(3)):
        with pytest.raises(ValueError, match="group"):
            GroupDataset(small_scan, groups_GC)
    for index in (3, -1):
        with pytest.raises(IndexError):
            dataset[index]
