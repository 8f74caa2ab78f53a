"""The picture is looked at: what is drawn where, and what changes it."""

from __future__ import annotations

import dataclasses
import io

import matplotlib.image
import numpy as np
import pytest

from ptycho_dist.reconstruction.picture import PictureSpec, draw_png


def image_of(spec):
    """(rows, columns, 3) of the PNG, 0 to 1."""
    png = draw_png(spec)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def changed(one, other):
    """The part of the pixels that differ visibly."""
    assert one.shape == other.shape
    return float((np.abs(one - other).max(axis=-1) > 0.05).mean())


def quarters(object_YX=None, **changes):
    """An object that is faint but for its upper left quarter, which is turned by 2 rad."""
    if object_YX is None:
        object_YX = np.full((60, 80), 0.3 + 0j)
        object_YX[:30, :40] = np.exp(2j)
    shape = object_YX.shape
    spec = PictureSpec(
        object_YX=object_YX,
        weight_YX=np.ones(shape),
        origin_px=(0, 0),
        title="scan.npz · run-1",
        region=(slice(5, 55), slice(5, 75)),
    )
    return dataclasses.replace(spec, **changes)


@pytest.fixture(scope="module")
def plain():
    return image_of(quarters())


def panels(image):
    """The half with the amplitude, and that with the phase."""
    middle = image.shape[1] // 2
    return image[:, :middle], image[:, middle:]


def longest_run(flags):
    """First and last index of the longest stretch of true."""
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(int), 0]))
    starts, stops = edges[::2], edges[1::2]
    longest = (stops - starts).argmax()
    return starts[longest], stops[longest] - 1


def test_it_is_of_a_size_to_be_looked_at(plain):
    """REC-031: amplitude and phase side by side, the truth below takes as much again."""
    height, width = plain.shape[:2]
    assert 1000 < width < 2000
    assert 400 < height < 1000
    both = image_of(quarters(truth_YX=quarters().object_YX))
    assert both.shape[1] == width
    assert both.shape[0] > 1.7 * height
    left, right = panels(plain)
    saturation = [(part.max(axis=-1) - part.min(axis=-1)) > 0.2 for part in (left, right)]
    assert saturation[0].mean() < 0.01, "amplitudes are grey"
    assert saturation[1].mean() > 0.2, "phases are in colour"


def test_rows_run_down_and_columns_right(plain):
    """REC-031: the bright quarter is upper left in the panel of the amplitude."""
    white = np.ones_like(plain)
    left, _ = panels(plain)
    # black: the three faint quarters, beside lines and letters
    dark = left.max(axis=-1) < 0.05
    top, bottom = longest_run(dark.sum(axis=1) > 200)
    first, last = longest_run(dark[bottom - 20])
    height, width = bottom - top, last - first
    assert height / width == pytest.approx(60 / 80, abs=0.03), "pixels are square"

    def at(row, column):
        return left[top + int(row * height), first + int(column * width)].mean()

    assert at(0.25, 0.25) > 0.95
    for row, column in ((0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        assert at(row, column) < 0.05
    assert changed(plain, white) > 0.3


def test_other_objects_give_other_pictures(plain):
    """REC-031: in amplitude the left half changes, in phase the right."""
    object_YX = quarters().object_YX
    grey, turned = object_YX.copy(), object_YX.copy()
    grey[40:50, 50:70] *= 2
    turned[40:50, 50:70] *= np.exp(1j)
    for other, side in ((grey, 0), (turned, 1)):
        pairs = list(zip(panels(plain), panels(image_of(quarters(other))), strict=True))
        assert changed(*pairs[side]) > 0.005
        assert changed(*pairs[side]) > 5 * changed(*pairs[1 - side])


def test_the_same_object_gives_the_same_bytes():
    assert draw_png(quarters()) == draw_png(quarters())


def test_positions_are_dots_on_the_reconstruction(plain):
    """REC-031: red, at (x, y) of the frame of the positions."""
    positions = np.stack(np.meshgrid(np.arange(110, 170, 5.0), [230.0, 240.0]), axis=-1)
    spec = quarters(origin_px=(100, 200), positions_px=positions.reshape(-1, 2))
    dotted, bare = image_of(spec), image_of(dataclasses.replace(spec, positions_px=None))
    red = (dotted[..., 0] > 0.6) & (dotted[..., 1:].max(axis=-1) < 0.4)
    assert red.sum() > 24
    assert changed(dotted, bare) < 0.02, "the dots leave the object to be seen"
    differing = np.flatnonzero(np.abs(dotted - bare).max(axis=(1, 2)) > 0.3)
    assert np.ptp(differing) < 0.3 * dotted.shape[0], "two rows of dots, 10 px of 60 apart"
    # the ticks count from the origin
    assert changed(bare, plain) > 0


def test_what_is_not_lit_stays_empty(plain):
    """REC-031: less than a twentieth of the brightest illumination."""
    weight = np.ones((60, 80))
    weight[:, 40:] = 0.04
    half = image_of(quarters(weight_YX=weight))
    left, before = panels(half)[0], panels(plain)[0]
    became_white = (left.min(axis=-1) > 0.99) & (before.max(axis=-1) < 0.05)
    assert became_white.mean() > 0.2
    right = panels(half)[1]
    assert ((right.min(axis=-1) > 0.99) & (panels(plain)[1].min(axis=-1) < 0.9)).mean() > 0.2


def test_factor_and_ramp_are_taken_out_where_the_truth_is_known(example):
    """REC-031, REC-040: and the truth sets the colours of both."""
    truth_YX = example.truth_YX
    rows, columns = truth_YX.shape
    y, x = np.mgrid[:rows, :columns]
    spec = PictureSpec(
        object_YX=truth_YX,
        weight_YX=np.ones(truth_YX.shape),
        origin_px=example.layout.origin_px,
        title="a",
        region=(slice(16, rows - 16), slice(16, columns - 16)),
        truth_YX=truth_YX,
    )
    same = image_of(spec)
    ramped = 5j * truth_YX * np.exp(0.1j * x + 0.05j * y)
    assert changed(image_of(dataclasses.replace(spec, object_YX=ramped)), same) < 0.002
    height = same.shape[0]
    upper, lower = same[: height // 2], same[height // 2 :]
    assert abs(upper.mean() - lower.mean()) < 0.03, "both rows show the same"
    flat = image_of(dataclasses.replace(spec, object_YX=np.ones_like(truth_YX)))
    assert changed(flat[: height // 2], upper) > 0.15
    assert changed(flat[height // 2 :], lower) < 0.002, "the truth is drawn as it is"


def test_a_ramp_without_a_truth_is_taken_out_too(plain):
    """REC-031"""
    object_YX = quarters().object_YX
    ramp = np.exp(0.05j * np.arange(80))
    ramped = image_of(quarters(object_YX * ramp))
    assert changed(ramped, plain) < 0.5 * changed(
        panels(image_of(quarters(np.abs(object_YX) + 0j)))[1], panels(plain)[1]
    )


@pytest.mark.parametrize("title", ["$x$ and a $", r"a$\frac$b.npz", "{", "", "αβ\nscan"])
def test_any_name_of_a_file_may_be_in_the_title(title):
    image_of(quarters(title=title))


def test_a_flat_object_can_be_drawn():
    image_of(quarters(np.ones((60, 80), complex)))
    image_of(quarters(np.zeros((60, 80), complex)))


def test_what_is_not_shown_does_not_set_the_colours():
    weight_YX = np.ones((60, 80))
    weight_YX[:, 60:] = 0
    dark = quarters().object_YX.copy()
    dark[:, 60:] = 50 * np.exp(-2.5j)
    shown = [image_of(quarters(object_YX, weight_YX=weight_YX)) for object_YX in (None, dark)]
    assert changed(*shown) == 0
