"""Where patches lie on the canvas of a scan (section 1 of the reconstruction's spec)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.data.canvas import canvas_layout

COORDINATES = st.one_of(
    st.floats(-1e4, 1e4),
    st.integers(-20, 20).map(lambda number: number / 2),  # halves, and whole ones
)
POSITIONS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=8)


@settings(max_examples=200)
@given(POSITIONS, st.sampled_from([2, 8, 64]))
def test_position_is_whole_pixel_plus_rest(xy: list[tuple[float, float]], size: int) -> None:
    """REC-001: pixel [N/2, N/2] lies on the nearest whole pixel, halves go up."""
    position_M2 = np.array(xy)
    layout = canvas_layout(*position_M2.T, size)
    middle_M2 = np.array(layout.origin_px) + layout.corner_M2 + size // 2
    np.testing.assert_allclose(middle_M2 + layout.rest_M2, position_M2, rtol=0, atol=1e-11)
    assert layout.corner_M2.dtype == np.int64
    assert (layout.rest_M2 >= -0.5).all()
    assert (layout.rest_M2 < 0.5).all()


@settings(max_examples=100)
@given(POSITIONS, st.sampled_from([2, 8, 64]))
def test_it_is_the_smallest_canvas_that_holds_all(xy: list[tuple[float, float]], size: int) -> None:
    """REC-001: a patch touches each edge, and none goes beyond."""
    layout = canvas_layout(*np.array(xy).T, size)
    assert (layout.corner_M2.min(axis=0) == 0).all()
    assert tuple(layout.corner_M2.max(axis=0)[::-1] + size) == layout.shape_YX


@pytest.mark.parametrize(
    ("x_px", "pixel", "rest"),
    [(2.5, 3, -0.5), (-2.5, -2, -0.5), (2.499, 2, 0.499), (-0.5, 0, -0.5), (7.0, 7, 0.0)],
)
def test_halves_go_up(x_px: float, pixel: int, rest: float) -> None:
    """REC-001: for negative positions too, and alike in x and y."""
    for axis in (0, 1):
        xy = np.zeros((2, 1))
        xy[axis] = x_px
        layout = canvas_layout(*xy, 8)
        assert layout.origin_px[axis] == pixel - 4
        assert layout.origin_px[1 - axis] == -4
        assert layout.rest_M2[0, axis] == pytest.approx(rest)
        assert layout.rest_M2[0, 1 - axis] == 0


def test_x_is_the_column_and_y_the_row() -> None:
    """REC-001"""
    layout = canvas_layout(np.array([10.0, 40.25, 12.0]), np.array([5.0, 5.0, -2.75]), 16)
    assert layout.shape_YX == (8 + 16, 30 + 16)
    assert layout.origin_px == (2, -11)
    np.testing.assert_array_equal(layout.corner_M2, [[0, 8], [30, 8], [2, 0]])
    np.testing.assert_array_equal(layout.rest_M2, [[0, 0], [0.25, 0], [0, 0.25]])


def test_a_move_by_whole_pixels_moves_the_origin_alone() -> None:
    """REC-001"""
    x_px, y_px = np.random.default_rng(0).uniform(-30, 30, (2, 9))
    here, there = canvas_layout(x_px, y_px, 8), canvas_layout(x_px + 7, y_px - 3, 8)
    assert there.origin_px == (here.origin_px[0] + 7, here.origin_px[1] - 3)
    assert there.shape_YX == here.shape_YX
    np.testing.assert_array_equal(there.corner_M2, here.corner_M2)
    np.testing.assert_allclose(there.rest_M2, here.rest_M2, atol=1e-12)
