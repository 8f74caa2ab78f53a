"""Figures: the same for the same data, valid, legible in both themes, without mathematics."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import launcher.pages
from launcher.pages.drawing import (
    PAPER,
    new_figure,
    png_of,
    series_colour,
    series_style,
    standalone_svg,
    svg_of,
)

CSS = (Path(launcher.pages.__file__).parent / "page.css").read_text("utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def a_figure(label="strong", values=(1, 2, 3)):
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.errorbar([1, 2, 4], values, yerr=0.1, label=label, **series_style(0))
    axes.bar([1, 2], [1, 1], color=series_colour(1), edgecolor=PAPER, hatch="//")
    axes.set_title(label)
    axes.set_xlabel("ranks")
    axes.legend()
    return figure


def test_the_same_figure_gives_the_same_files():
    """SC-063"""
    first, second = a_figure(), a_figure()
    assert svg_of(first) == svg_of(second) == svg_of(first)
    assert standalone_svg(first) == standalone_svg(second)
    assert png_of(first) == png_of(second)
    assert svg_of(first) != svg_of(a_figure(values=(1, 2, 2)))


def test_two_figures_of_a_page_share_no_id():
    """SC-063"""
    first, second = (
        ElementTree.fromstring(svg_of(a_figure(values=v))) for v in ((1, 2, 3), (1, 2, 2))
    )
    ids = [[e.get("id") for e in root.iter() if e.get("id")] for root in (first, second)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for root, known in zip((first, second), ids, strict=True):
        text = ElementTree.tostring(root, encoding="unicode")
        needed = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall('href="#([^"]+)', text))
        assert needed == set(known)  # what is asked for is there, and nothing else


def test_colours_of_a_page_are_its_variables():
    """SC-061: a figure follows the theme."""
    written = svg_of(a_figure())
    assert re.findall("#[0-9a-f]{6}", re.sub(r"url\(#[^)]*\)|href=\"#[^\"]*", "", written)) == []
    used = set(re.findall(r"var\((--[\w-]+)\)", written))
    assert {"--ink", "--paper", "--series-0", "--series-1"} <= used
    for theme in themes():
        assert used <= set(theme)
    root = ElementTree.fromstring(written)
    assert root.find(f".//{SVG}style") is None
    assert "font-family" not in written


def test_a_file_needs_no_page():
    written = standalone_svg(a_figure()).decode()
    assert "var(" not in written
    assert "<!DOCTYPE" not in written
    assert "#164fa4" in written
    assert ElementTree.fromstring(written).find(f".//{SVG}text") is not None


@pytest.mark.parametrize(
    "name", ["$\\frac{", "a & <b> \"'", "\x00\x1b[31mred\x1b[0m\u202e", "名前\ud800"]
)
def test_any_name_can_be_drawn(name):
    """SC-062"""
    figure = a_figure(name)
    figure.axes[0].set_xticks([1, 2], [name, "b"])
    written = svg_of(figure)
    words = [e.text or "" for e in ElementTree.fromstring(written).iter(f"{SVG}text")]
    assert not any(letter in written for letter in "\x00\x1b\u202e")
    if name.startswith("$"):
        assert name in words
    png_of(figure)


def test_logarithmic_axes_say_plain_numbers():
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1e-3, 1.0, 1e3])
    axes.set_yscale("log")
    written = svg_of(figure)
    assert "mathdefault" not in written
    words = {e.text for e in ElementTree.fromstring(written).iter(f"{SVG}text")}
    assert {"1"} <= words


def themes():
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return [dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """Of WCAG 2.2: 1 to 21."""
    lights = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other))
    return lights[1] / lights[0]


@pytest.mark.parametrize("theme", themes())
def test_colours_are_legible(theme):
    """SC-061: texts 4.5 : 1, marks 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    for text in ("--ink", "--muted", "--link"):
        assert contrast(theme[text], theme["--paper"]) >= 4.5
    assert contrast(theme["--care"], theme["--care-panel"]) >= 4.5
    for number in range(8):
        assert contrast(theme[f"--series-{number}"], theme["--paper"]) >= 3


def test_the_colours_of_files_are_those_of_light_pages():
    assert [series_colour(n) for n in range(8)] == [themes()[0][f"--series-{n}"] for n in range(8)]


# Machado et al., IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), severity 1.0, linear RGB.
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
]
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratios = xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", themes())
@pytest.mark.parametrize(
    "sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["", "deutan", "protan"]
)
def test_any_two_series_differ_for_all_eyes(theme, sight):
    """SC-061: by 15 in CIE L*a*b*, beside markers and lines."""
    seen = [lab(np.asarray(sight) @ linear(theme[f"--series-{n}"])) for n in range(8)]
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(one - other) >= 15
