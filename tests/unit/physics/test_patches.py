"""Patches on a canvas, against loops written out (section 1 of the reconstruction's spec)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.physics.patches import (
    CanvasSums,
    extract_patches,
    merge_patches,
    merge_weights,
    moved_patches,
    moved_probe,
)


def complex_normal(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)


@dataclass(frozen=True, eq=False)
class Layout:
    """B canvases of (rows, columns) and C patches of size × size on each."""

    shape_YX: tuple[int, int]
    size: int
    corner_BC2: torch.Tensor
    seed: int

    def patches(self) -> torch.Tensor:
        """(B, C, size, size) complex128, of any values."""
        shape = (*self.corner_BC2.shape[:2], self.size, self.size)
        return torch.from_numpy(complex_normal(*shape, seed=self.seed))

    def weights(self) -> torch.Tensor:
        """(B, C, size, size) float64, from as little as a patch can have."""
        shape = (*self.corner_BC2.shape[:2], self.size, self.size)
        exponent = np.random.default_rng(self.seed + 1).uniform(-4, 0, shape)
        return torch.from_numpy(10**exponent)

    def covered(self) -> torch.Tensor:
        """(B, Y, X) bool: where a patch lies."""
        covered = torch.zeros(self.corner_BC2.shape[0], *self.shape_YX, dtype=torch.bool)
        for b, corners in enumerate(self.corner_BC2.tolist()):
            for x, y in corners:
                covered[b, y : y + self.size, x : x + self.size] = True
        return covered


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    size = draw(st.sampled_from([1, 2, 5]))
    rows, columns = (draw(st.integers(size, size + 6)) for _ in range(2))
    groups, members = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**20))
    corner = np.random.default_rng(seed).integers(
        0, [columns - size + 1, rows - size + 1], (groups, members, 2)
    )
    return Layout((rows, columns), size, torch.from_numpy(corner), seed)


@settings(max_examples=60)
@given(layouts())
def test_merging_is_the_weighted_mean_of_a_plain_loop(layout: Layout) -> None:
    """REC-002: each group on a canvas of its own, 1 where no patch lies."""
    patches, weights = layout.patches(), layout.weights()
    rows, columns = layout.shape_YX
    expected = np.ones((layout.corner_BC2.shape[0], rows, columns), complex)
    for b, corners in enumerate(layout.corner_BC2.tolist()):
        for row in range(rows):
            for column in range(columns):
                total = weight = 0.0
                for c, (x, y) in enumerate(corners):
                    i, j = row - y, column - x
                    if 0 <= i < layout.size and 0 <= j < layout.size:
                        total += complex(weights[b, c, i, j] * patches[b, c, i, j])
                        weight += float(weights[b, c, i, j])
                if weight:
                    expected[b, row, column] = total / weight
    merged = merge_patches(patches, weights, layout.corner_BC2, layout.shape_YX)
    np.testing.assert_allclose(merged, expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=60)
@given(layouts(), st.complex_numbers(max_magnitude=1e3, allow_subnormal=False))
def test_a_constant_stays_that_constant(layout: Layout, value: complex) -> None:
    """REC-002: however many patches cover a pixel, and however faintly."""
    patches = torch.full_like(layout.patches(), value).to(torch.complex64)
    merged = merge_patches(patches, layout.weights().float(), layout.corner_BC2, layout.shape_YX)
    assert merged.dtype == torch.complex64
    expected = torch.where(layout.covered(), patches[0, 0, 0, 0], 1.0)
    torch.testing.assert_close(merged, expected.to(torch.complex64), rtol=2e-6, atol=2e-6)
    taken = extract_patches(merged, layout.corner_BC2, layout.size)
    torch.testing.assert_close(taken, patches, rtol=2e-6, atol=2e-6)


@settings(max_examples=60)
@given(layouts())
def test_patches_of_one_object_are_that_object_again(layout: Layout) -> None:
    """REC-002: and extraction is slicing, x the column and y the row."""
    canvas = torch.from_numpy(
        complex_normal(layout.corner_BC2.shape[0], *layout.shape_YX, seed=layout.seed)
    )
    patches = extract_patches(canvas, layout.corner_BC2, layout.size)
    for b, corners in enumerate(layout.corner_BC2.tolist()):
        for c, (x, y) in enumerate(corners):
            sliced = canvas[b, y : y + layout.size, x : x + layout.size]
            assert torch.equal(patches[b, c], sliced)
    merged = merge_patches(patches, layout.weights(), layout.corner_BC2, layout.shape_YX)
    torch.testing.assert_close(merged, torch.where(layout.covered(), canvas, 1.0 + 0j))


def test_merging_and_extracting_pass_gradcheck() -> None:
    """REC-003: in patches and weights, on canvases that are covered in part and several times."""
    corner = torch.tensor([[[0, 0], [1, 2], [1, 1]], [[3, 0], [0, 1], [3, 0]]])
    patches = torch.from_numpy(complex_normal(2, 3, 3, 3)).requires_grad_()
    weights = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 1, (2, 3, 3, 3)))

    def merged_and_taken(patches: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return extract_patches(merge_patches(patches, weights, corner, (6, 7)), corner, 3)

    assert torch.autograd.gradcheck(merged_and_taken, (patches, weights.requires_grad_()))


def test_the_moved_probe_and_its_weights_pass_gradcheck() -> None:
    """REC-003: a probe that is learned is moved, and weighs the patches."""
    probe = torch.from_numpy(complex_normal(2, 4, 4)).requires_grad_()
    rest = torch.tensor([[[0.3, -0.5], [0.1, 0.25]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moved_probe, (probe, rest))
    assert torch.autograd.gradcheck(lambda p: merge_weights(moved_probe(p, rest)), (probe,))


def test_the_moved_patches_pass_gradcheck() -> None:
    """REC-003, REC-004"""
    patches = torch.from_numpy(complex_normal(1, 2, 4, 4)).requires_grad_()
    rest = torch.tensor([[[0.3, -0.5], [0.1, 0.25]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: moved_patches(p, rest), (patches,))


def test_no_groups() -> None:
    """REC-003: B = 0 through every function, and zeros, not None, for what is learned."""
    probe = torch.from_numpy(complex_normal(2, 8, 8)).to(torch.complex64).requires_grad_()
    factor = torch.ones((), dtype=torch.complex64, requires_grad=True)
    rest, corner = torch.zeros(0, 3, 2), torch.zeros(0, 3, 2, dtype=torch.int64)
    moved = moved_probe(probe, rest)
    assert (moved.shape, moved.dtype) == ((0, 3, 2, 8, 8), torch.complex64)
    weights = merge_weights(moved)
    assert (weights.shape, weights.dtype) == ((0, 3, 8, 8), torch.float32)
    patches = moved_patches(factor * torch.ones(0, 3, 8, 8), rest)
    canvas = merge_patches(patches, weights, corner, (20, 30))
    assert canvas.shape == (0, 20, 30)
    taken = extract_patches(canvas, corner, 8)
    assert (taken.shape, taken.dtype) == ((0, 3, 8, 8), torch.complex64)
    (taken.abs().sum() + (taken * moved.sum(dim=2)).abs().sum()).backward()
    for learned in (probe, factor):
        assert learned.grad is not None
        assert not learned.grad.any()


@pytest.mark.parametrize("double", [False, True])
def test_sums_may_be_added_in_pieces(double: bool) -> None:
    """REC-020: batch by batch, or as the sum of two ranks' sums."""
    layout = Layout((9, 8), 4, torch.randint(0, 5, (1, 6, 2)), seed=4)
    patches, weights = layout.patches().to(torch.complex64), layout.weights().float()
    like = torch.ones(1, dtype=torch.complex64)
    whole = merge_patches(patches, weights, layout.corner_BC2, layout.shape_YX)
    pieces = [CanvasSums(1, layout.shape_YX, like, double=double) for _ in range(2)]
    for members in ([0, 3], [1], [2, 4, 5]):
        pieces[len(members) % 2].add(
            patches[:, members], weights[:, members], layout.corner_BC2[:, members]
        )
    pieces[0].weighted = pieces[0].weighted + pieces[1].weighted
    pieces[0].weights = pieces[0].weights + pieces[1].weights
    expected = torch.complex128 if double else torch.complex64
    assert pieces[0].weighted.dtype == expected
    assert pieces[0].weights.dtype == expected.to_real()
    merged = pieces[0].object_BYX()
    torch.testing.assert_close(merged.to(torch.complex64), whole, rtol=1e-5, atol=1e-6)


def test_elsewhere_may_be_another_canvas() -> None:
    """Where no patch lies the merged canvas is what is given for there."""
    before = torch.from_numpy(complex_normal(1, 4, 5))
    sums = CanvasSums(1, (4, 5), before)
    corner = torch.tensor([[[1, 2]]])
    sums.add(torch.full((1, 1, 2, 2), 7j, dtype=torch.complex128), torch.ones(1, 1, 2, 2), corner)
    after = before.clone()
    after[0, 2:4, 1:3] = 7j
    torch.testing.assert_close(sums.object_BYX(elsewhere=before), after)


def test_weights_are_the_illumination_of_all_modes() -> None:
    """REC-002: in parts of the brightest pixel of each patch, and never zero."""
    probe = complex_normal(2, 3, 2, 4, 4)
    probe[0, 1, :, 2, 3] = 0
    weights = merge_weights(torch.from_numpy(probe)).numpy()
    for b in range(2):
        for c in range(3):
            lit = np.abs(probe[b, c, 0]) ** 2 + np.abs(probe[b, c, 1]) ** 2
            np.testing.assert_allclose(weights[b, c], lit / lit.max() + 1e-4)
    assert weights[0, 1, 2, 3] == pytest.approx(1e-4)


def gaussian(x_px: float, y_px: float, size: int = 32) -> np.ndarray:
    """A probe that dies out before the edge, centred (x, y) from pixel [N/2, N/2]."""
    axis = np.arange(size) - size // 2
    squared = (axis[:, None] - y_px) ** 2 + (axis - x_px) ** 2
    return np.exp(-squared / (2 * 2.0**2) + 0.3j * (axis - x_px))


def test_a_probe_is_moved_by_parts_of_a_pixel_as_if_it_were_drawn_there() -> None:
    """REC-001: x along columns, y along rows, to rounding; energy stays."""
    probe = torch.from_numpy(np.stack([gaussian(0, 0), 2j * gaussian(0, 0)]))
    rest = torch.tensor([[[0.0, 0.0], [0.5, 0.0], [-0.3, 0.0]], [[0, 0.25], [0.1, -0.45], [1, 2]]])
    moved = moved_probe(probe, rest.double())
    assert moved.shape == (2, 3, 2, 32, 32)
    for b in range(2):
        for c in range(3):
            drawn = gaussian(*rest[b, c].tolist())
            np.testing.assert_allclose(moved[b, c, 0], drawn, atol=1e-7)
            np.testing.assert_allclose(moved[b, c, 1], 2j * drawn, atol=2e-7)
    energy = (moved.abs() ** 2).sum(dim=(-3, -2, -1))
    torch.testing.assert_close(energy, (probe.abs() ** 2).sum().expand(2, 3))
    assert moved_probe(probe.to(torch.complex64), rest).dtype == torch.complex64


@settings(max_examples=40)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_moved_patches_are_interpolated_with_edges_repeated(x_px: float, y_px: float) -> None:
    """REC-004: a slope is met exactly, O(r - rest), and goes on flat beyond the edge."""
    rows, columns = np.mgrid[:7, :7].astype(float)

    def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 6) * (2 - 1j) + np.clip(y, 0, 6) * 0.5j

    patch = torch.from_numpy(slope(columns, rows))[None, None]
    moved = moved_patches(patch, torch.tensor([[[x_px, y_px]]], dtype=torch.float64))
    np.testing.assert_allclose(moved[0, 0], slope(columns - x_px, rows - y_px), atol=1e-12)


def test_moved_patches_keep_a_constant_and_do_not_mix() -> None:
    """REC-004: each patch by its own rest."""
    patches = torch.from_numpy(complex_normal(2, 2, 6, 6)).to(torch.complex64)
    patches[0, 1] = 0.6 - 0.8j
    rest = torch.tensor([[[0.0, 0.0], [0.4, -0.3]], [[1.0, 0.0], [0.0, -1.0]]])
    moved = moved_patches(patches, rest)
    assert torch.equal(moved[0, 0], patches[0, 0])
    torch.testing.assert_close(moved[0, 1], patches[0, 1])
    assert torch.equal(moved[1, 0, :, 1:], patches[1, 0, :, :-1])
    assert torch.equal(moved[1, 0, :, 0], patches[1, 0, :, 0])
    assert torch.equal(moved[1, 1, :-1], patches[1, 1, 1:])
    assert torch.equal(moved[1, 1, -1], patches[1, 1, -1])
