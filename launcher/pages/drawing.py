"""Figures in one style, as SVG that follows the theme of a page and as files for papers.

Equal figures give equal SVGs: these hold no dates and no random ids.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedFormatter,
    Formatter,
    FuncFormatter,
    LogFormatter,
    LogFormatterMathtext,
)

from launcher.text.plain_text import plain

INK = "#000000"
"""Default colour of lines and text."""
PAPER = "#ffffff"
MUTED = "#59626e"
GRID = "#d5dae1"
_SERIES = (
    "#164fa4",
    "#c33400",
    "#126947",
    "#784266",
    "#ce8200",
    "#269ec9",
    "#491d0d",
    "#828598",
)
"""Hues after Okabe and Ito (2008), "Color Universal Design". Their lightness is chosen so that any
two differ for people with red-green colour blindness, too. page.css holds the colours for dark
pages."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
_VARIABLES = {
    INK: "--ink",
    PAPER: "--paper",
    MUTED: "--muted",
    GRID: "--grid",
    **{colour: f"--series-{number}" for number, colour in enumerate(_SERIES)},
}
_SALT = "ptycho-dist"
_DPI = 200
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_FONT = re.compile(r"font-family:[^;]*;?\s*")
_SHORT_FONT = re.compile(r"font:\s*(?P<words>[^;]*?)(?P<size>[\d.]+px)[^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def new_figure(width_in: float = 7.2, height_in: float = 3.6) -> Figure:
    """An empty figure; elements in the default colours follow the theme of the page.

    Args:
        width_in: width in inches; 7.2 is the text width of a page.
        height_in: height in inches.
    """
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def series_colour(number: int) -> str:
    """The colour of a series, counted from 0; the eight colours repeat."""
    return _SERIES[number % len(_SERIES)]


def series_style(number: int) -> dict[str, Any]:
    """Colour, marker and line style of a series, each of which distinguishes it from the others."""
    place = number % len(_SERIES)
    return {"color": _SERIES[place], "marker": _MARKERS[place], "linestyle": _DASHES[place]}


def svg_of(figure: Figure) -> str:
    """The <svg> element for a page: it uses the colour variables of page.css and unique ids."""
    root = _svg_root(figure)
    _use_variables(root)
    _make_ids_own(root)
    root.set("style", "fill: var(--ink); stroke-linejoin: round; stroke-linecap: butt")
    root.set("aria-hidden", "true")  # the text alternative is beside it
    return ElementTree.tostring(root, encoding="unicode").strip()


def standalone_svg(figure: Figure) -> bytes:
    """An SVG file: black on white, with text as text."""
    root = _svg_root(figure)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def png_of(figure: Figure) -> bytes:
    """A PNG file: black on white, 200 dots per inch."""
    png = io.BytesIO()
    with _drawn_in_house_style(figure):
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return png.getvalue()


@contextmanager
def _drawn_in_house_style(figure: Figure) -> Iterator[None]:
    # Names of runs and nodes may hold a $: no text is mathematics.
    with (
        rc_context(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": _SALT,
                "text.parse_math": False,
                "figure.constrained_layout.use": False,
                "figure.autolayout": False,
            }
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has it
        for axes in figure.axes:
            _dress(axes)
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            text.set_usetex(False)  # regardless of the user's matplotlibrc
            text.set_text(_printable(text.get_text()))
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine(None)  # else every rendering would move the axes a little
        yield


class _PrintableTicks(Formatter):
    """Tick labels of another formatter, without characters that no font or file can hold."""

    def __init__(self, inner: FixedFormatter | FuncFormatter) -> None:
        self._inner = inner

    def __call__(self, x: float, pos: int | None = None) -> str:
        return _printable(self._inner(x, pos))


def _printable(text: str) -> str:
    return "\n".join(plain(line) for line in text.split("\n"))


def _dress(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
    axes.tick_params(which="both", color=MUTED)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        major = axis.get_major_formatter()
        if isinstance(major, LogFormatterMathtext):
            axis.set_major_formatter(LogFormatter())
        elif isinstance(major, (FixedFormatter, FuncFormatter)):
            axis.set_major_formatter(_PrintableTicks(major))
        if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    legend = axes.get_legend()
    if legend is not None:
        legend.get_frame().set_edgecolor(GRID)


def _svg_root(figure: Figure) -> ElementTree.Element:
    written = io.StringIO()
    with _drawn_in_house_style(figure):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib wrote this text, so it holds no foreign entities.
    text = _NOT_XML.sub("", written.getvalue())
    text = re.sub(r"<!DOCTYPE[^>]*>", "", text)
    root = ElementTree.fromstring(text)  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)  # a style sheet would apply to the whole page
    _keep_needed_ids(root)
    return root


def _keep_needed_ids(root: ElementTree.Element) -> None:
    needed = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            needed.update(_REFERENCE.findall(value))
            if name in (f"{{{_XLINK}}}href", "href") and value.startswith("#"):
                needed.add(value[1:])
    for element in root.iter():
        if element.get("id") not in needed:
            element.attrib.pop("id", None)


def _use_variables(root: ElementTree.Element) -> None:
    for element in root.iter():
        style = element.get("style", "")
        style = _SHORT_FONT.sub(r"font: \g<words>\g<size> inherit", _FONT.sub("", style))
        style = style.replace("font: ", "font-size: ") if " inherit" in style else style
        style = style.replace(" inherit", "")
        for name in ("fill", "stroke"):  # an attribute cannot hold a variable
            if _COLOUR.fullmatch(element.get(name, "")):
                style = f"{name}: {element.attrib.pop(name)}; {style}"
        style = _COLOUR.sub(_variable, style).strip()
        if style:
            element.set("style", style)
        else:
            element.attrib.pop("style", None)


def _variable(found: re.Match[str]) -> str:
    name = _VARIABLES.get(found[0])
    return f"var({name})" if name else found[0]


def _make_ids_own(root: ElementTree.Element) -> None:
    """Prefix all ids with a digest of the figure, so that ids of two figures never collide."""
    prefix = "f" + hashlib.sha256(ElementTree.tostring(root)).hexdigest()[:10]
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id":
                element.set(name, f"{prefix}-{value}")
            elif name == f"{{{_XLINK}}}href" and value.startswith("#"):
                del element.attrib[name]
                element.set("href", f"#{prefix}-{value[1:]}")
            else:
                element.set(name, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))


ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)
