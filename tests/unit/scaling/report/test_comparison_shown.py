"""`scale compare`: what is printed of two studies."""

import argparse
import json

import pytest
from rich.console import Console
from studies import a_study

import launcher.scaling.collect
from launcher.commands import scale_report, which_run
from launcher.scaling.analysis.comparison import compare_sizes
from launcher.scaling.report.present_comparison import show_comparison
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory


def shown(comparison, before="before", after="after"):
    screen = Console(width=400, record=True, force_terminal=False)
    show_comparison(comparison, before, after, screen)
    return screen.export_text()


def test_sizes_stand_beside_each_other_with_intervals_and_warnings():
    """SC-071"""
    before, _ = a_study(cores=2)
    after, _ = a_study(cores=2, nodes=(1, 4, 8))
    text = shown(compare_sizes(before, after), "old", "new\x1b[31m[bold]")
    assert "strong, 4 ranks on 4 nodes" in text
    assert "1.00 (" in text
    assert "no difference shown" in text
    assert "oversubscribed before" in text
    assert "only in old: " in text
    assert "only in new[bold]: " in text
    assert "would on average be called faster or slower" in text
    assert "\x1b" not in text


def test_studies_without_a_common_size():
    """SC-071"""
    text = shown(compare_sizes(a_study(nodes=(1,))[0], a_study(nodes=(2,))[0]))
    assert "No size was measured in both studies." in text


@pytest.fixture
def found(monkeypatch, tmp_path):
    """Studies that never ran, found and collected by the command."""
    collected, _ = a_study(nodes=(1, 2), modes=("strong",), repeats=2)
    study_dir = tmp_path / "siemens-20260101-000000-0001"
    (study_dir / "members").mkdir(parents=True)
    monkeypatch.setattr(which_run, "study", lambda root, name: ArrayDirectory(study_dir))
    monkeypatch.setattr(
        launcher.scaling.collect, "collect", lambda study, scheduler=None: collected
    )
    return study_dir


def options(tmp_path, *words, as_json=False, deadline=None):
    return argparse.Namespace(words=list(words), runs_dir=tmp_path, json=as_json, deadline=deadline)


def test_compare_writes_nothing(found, tmp_path, capsys):
    """SC-071"""
    before = sorted(tmp_path.rglob("*"))
    assert scale_report.compare(options(tmp_path, "compare", "a", "b")) == 0
    assert "strong, 2 ranks on 2 nodes" in capsys.readouterr().out
    assert scale_report.compare(options(tmp_path, "compare", "a", "b", as_json=True)) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["format"] == 1
    assert data["before"] == data["after"] == found.name
    assert data["sizes"][0]["ratio"]["value"] == pytest.approx(1)
    assert sorted(tmp_path.rglob("*")) == before


def test_report_says_where_it_is(found, tmp_path, capsys):
    """SC-064"""
    assert scale_report.report(options(tmp_path, "report", "s", deadline="12:00:00")) == 0
    out = capsys.readouterr().out
    assert "the fastest size is" in out
    assert f"report: {found}/report/report.html" in out
    assert scale_report.report(options(tmp_path, "report", "s", as_json=True)) == 0
    data = json.loads(capsys.readouterr().out)
    stored = json.loads((found / "report" / "study-report.json").read_text())
    assert data.pop("array_id") == found.name
    assert data.pop("report") == str(found / "report" / "report.html")
    assert data == stored


@pytest.mark.parametrize(
    ("action", "words", "deadline", "message"),
    [
        ("report", ["report", "a", "b"], None, "scale report: at most one study is expected"),
        ("report", ["report", "a"], "soon", "--deadline: expected a time such as 12:00:00"),
        ("compare", ["compare", "a"], None, "scale compare: two studies are expected, found a"),
        ("compare", ["compare"], None, "scale compare: two studies are expected, found none"),
        ("compare", ["compare", "a", "b"], "1:00:00", "--deadline belongs to `scale report"),
    ],
)
def test_wrong_words_are_told_in_one_line(tmp_path, action, words, deadline, message):
    """SC-071"""
    with pytest.raises(UserError) as told:
        getattr(scale_report, action)(options(tmp_path, *words, deadline=deadline))
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)
