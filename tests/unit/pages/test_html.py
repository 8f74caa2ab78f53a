"""The frame of reports: one file that needs nothing else, and lets nothing in."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_html import ReadPage
from waiting import HANG_S

from launcher.pages.drawing import new_figure, png_of, svg_of
from launcher.pages.html import render_page
from launcher.pages.page import Caution, Code, DataTable, Figure, Page, Picture, Section, Text

REPOSITORY = Path(__file__).resolve().parents[3]
HOSTILE = (
    "</title></style><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\x1b[31m{{ 7*7 }}"
)


def drawn(label="ranks"):
    figure = new_figure(3, 2)
    figure.subplots().plot([1, 2, 4], [1, 2, 3], label=label)
    return figure


def a_page(text="words", sections=1):
    figure = drawn()
    blocks = [
        Text(text),
        Caution(text),
        Code(f"{text}\n  {text}"),
        DataTable([text, "t, s"], [[text, "1.5 (1.2 to 1.9)"], ["b", "–"]], text, [1]),
        Figure(svg_of(figure), text, text),
        Picture(png_of(figure), text, text),
    ]
    page = [Section(f"{text} {number}", blocks) for number in range(sections)]
    return Page(text, text, page)


@pytest.fixture(scope="module")
def plain_page():
    return render_page(a_page(sections=6))


def test_a_page_loads_nothing_from_anywhere(plain_page):
    """SC-060"""
    page = ReadPage(plain_page)
    assert page.foreign == []
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in plain_page
    assert plain_page.count("http") == plain_page.count("http-equiv") + plain_page.count(
        'xmlns="http://www.w3.org/2000/svg"'
    )


def test_a_page_is_well_formed_and_readable_without_seeing_it(plain_page):
    """SC-061"""
    page = ReadPage(plain_page)
    assert page.unbalanced == []
    assert len(page.ids) == len(set(page.ids))  # although each section has the same drawing
    assert {url[1:] for url in page.loads if url.startswith("#")} <= set(page.ids)
    assert page.tags.count("h1") == 1
    assert page.tags.count("h2") == 6
    assert "nav" in page.tags
    assert page.labels.count("words") == 6 * 3  # table, figure, picture
    assert '<html lang="en">' in plain_page
    assert "prefers-color-scheme: dark" in plain_page
    assert "@media print" in plain_page


def test_a_short_page_has_no_contents():
    assert "nav" not in ReadPage(render_page(a_page(sections=2))).tags


def test_texts_are_escaped_and_steer_no_terminal():
    """SC-062"""
    written = render_page(a_page(HOSTILE, sections=5))
    page = ReadPage(written)
    assert page.unbalanced == []
    assert "script" not in page.tags
    assert page.tags.count("img") == 5
    assert "\x1b" not in written
    assert "{{ 7*7 }}" in page.text  # a template in a name is text
    assert "alert(1)" in page.text


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_any_text_leaves_the_page_whole(text):
    """SC-062"""
    page = Page(text, text, [Section(text, [Text(text), Code(text), DataTable([text], [[text]])])])
    written = render_page(page)
    read = ReadPage(written)
    assert read.unbalanced == []
    assert read.tags == ReadPage(render_page(Page("a", "a", [Section("a", [
        Text("a"), Code("a"), DataTable(["a"], [["a"]])
    ])]))).tags  # fmt: skip
    written.encode()


def test_numbers_are_aligned_right_and_marked_rows_have_a_sign():
    table = DataTable(
        ["n", "name", "rate", "age", "nothing", "size"],
        [
            ["1", "4 ranks on 2 nodes", "250 (240 to 260)", "2 h 5 min", "–", "512 MiB"],
            ["12", "b", "−3.1 %", "12 s", "", "1.5e-07"],
        ],
        marked=[1],
    )
    written = render_page(Page("a", "b", [Section("c", [table])]))
    heads = [line for line in written.splitlines() if "<th " in line]
    assert ["number" in line for line in heads] == [True, False, True, True, True, True]
    rows = written.partition("<tbody>")[2].split("</tr>")
    assert "◇" not in rows[0]
    assert "◇" in rows[1]
    assert 'class="care"' in rows[1]


def test_the_template_is_in_the_wheel(tmp_path):
    """SC-060: an installed launcher has it."""
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    for path in (REPOSITORY / "launcher").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".yaml":
            copy = source / path.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=HANG_S
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"launcher/pages/page.html.j2", "launcher/pages/page.css"} <= names
