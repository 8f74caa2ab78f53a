"""The report of a study: what stands in it, what does not, and that it is honest."""

import csv
import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from read_html import ReadPage
from studies import a_study
from waiting import HANG_S

from launcher.pages import words
from launcher.pages.drawing import PAPER
from launcher.pages.html import render_page
from launcher.scaling.analysis.laws import FARTHEST
from launcher.scaling.analysis.results import Estimate, ForDeadline
from launcher.scaling.report import wording
from launcher.scaling.report.figures import study_figures
from launcher.scaling.report.files import report_data, runs_csv, sizes_csv
from launcher.scaling.report.methods import methods_text
from launcher.scaling.report.provenance import provenance_of
from launcher.scaling.report.study_page import study_page
from launcher.scaling.report.tables import laws_table, parts_table, sizes_table
from launcher.scaling.report.write import write_study_report
from launcher.timing.attribution import PARTS
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_json_atomic

HOSTILE = "<script>alert(1)</script>$\\frac{\x1b[31m"
SMALL = {"nodes": (1, 2), "modes": ("strong",), "repeats": 2}
DEADLINE = ForDeadline(
    deadline_s=7200.0, mode="strong", nodes=3, tasks_per_node=1, hours=1.8, node_hours=5.4,
    extrapolated=True, why="it is the cheapest in time",
)  # fmt: skip


@pytest.fixture
def study_dir(tmp_path):
    folder = tmp_path / "siemens-20260101-000000-0001"
    (folder / "members").mkdir(parents=True)
    return folder


def member(study_dir, run_id, *events, attempt=1, **files):
    """A run directory as far as provenance looks at it."""
    run = study_dir / "members" / run_id
    for name in ("attempts", "ledger"):
        (run / name).mkdir(parents=True, exist_ok=True)
    (run / "attempts" / f"{attempt:03d}.json").write_text("{}")
    lines = [json.dumps({"time": 1.0, "writer": "rank-00000", **event}) for event in events]
    (run / "ledger" / f"{attempt:03d}-rank-00000.jsonl").write_text("\n".join([*lines, ""]))
    for name, content in files.items():
        write_json_atomic(run / f"{name}.json", content)


def joined(**values):
    return {
        "event": "joined", "device": "cuda", "device_name": "NVIDIA A100", "backend": "nccl",
        "versions": {"torch": "2.9.9", "nccl": "2.21.5", "cuda": "12.4"},
        "variables": {
            "NCCL_DEBUG": "INFO", "SLURM_CLUSTER_NAME": "perlmutter", "SLURM_JOB_PARTITION": "gpu"
        },
        **values,
    }  # fmt: skip


def page_of(study_dir, collected, analysis):
    origin = provenance_of(study_dir, collected)
    return render_page(study_page(collected, analysis, origin, study_figures(analysis)))


# --- the page --------------------------------------------------------------------------------


def test_the_page_says_first_what_was_found_then_what_to_beware_of(study_dir):
    """SC-064"""
    text = ReadPage(page_of(study_dir, *a_study(deadline=DEADLINE, with_missing=True))).text
    order = [
        "the fastest size is 4 ranks on 4 nodes, with 814 (782 to 847) samples/s",
        "2 sizes had more threads than the 2 cores",
        "Throughput of all ranks over the number of ranks",
        "Efficiency: the speed-up",
        "the same number of tasks per node. ◇: more threads than cores",
        "ms per step, mean over the ranks",
        "error at the held-out size",
        "Within 2 h, the cheapest size is 3 nodes with 1 task each, strong scaling: 1.80 h, 5.40",
        "From the queue to the first batch",
        "by the rule of MLPerf HPC, s",
        "goodput",
        "rank 1 ran out of memory",
        "We measured the strong and weak scaling",
        "Versions of the launcher",
        "ptycho-launch scale run.yaml --nodes 1,2,4",
    ]
    places = [text.rindex(said) if "Versions" in said or "ptycho-launch" in said
              else text.index(said) for said in order]  # fmt: skip
    assert places == sorted(places)
    first = text[: text.index("2 sizes had more threads")]
    assert "The knee is at 4 ranks." in first
    assert "Knee, weak scaling, 1 task per node. One more doubling would bring less" in text
    assert "Exposed communication: 7.1 ms lost per step" in first
    assert "This size was not measured" in text


def test_the_page_is_whole_and_loads_nothing(study_dir):
    """SC-060, SC-061"""
    written = page_of(study_dir, *a_study(nodes=(1, 2), repeats=1))
    page = ReadPage(written)
    assert page.unbalanced == []
    assert page.foreign == []
    assert len(page.ids) == len(set(page.ids))
    figures = [label for label in page.labels if "ranks" in label and "samples" in label.lower()]
    assert figures  # words stand for each figure
    assert any("forward and backward pass 25.6 ms" in label for label in page.labels)


def test_hostile_names_stay_names(study_dir):
    """SC-062"""
    collected, analysis = a_study(name=HOSTILE, node_names=(HOSTILE, "n2"), **SMALL)
    study = replace(collected.study, command=("ptycho-launch", "scale", HOSTILE))
    missing = replace(
        a_study(with_missing=True, **SMALL)[0].missing[0], why=HOSTILE, run_id=f"../{HOSTILE}"
    )
    collected = replace(collected, study=study, missing=(missing,))
    analysis = replace(analysis, warnings=(HOSTILE,))
    written = page_of(study_dir, collected, analysis)
    page = ReadPage(written)
    assert "script" not in page.tags
    assert page.unbalanced == []
    assert "\x1b" not in written
    assert page.text.count("alert(1)") >= 5


def test_a_study_that_measured_nothing_says_so(study_dir):
    collected, analysis = a_study(repeats=1)
    collected = replace(collected, measured=())
    analysis = replace(analysis, series=(), warnings=("no run has measured",))
    written = write_study_report(study_dir, collected, analysis)
    text = ReadPage(written.page.read_text("utf-8")).text
    assert "No run of this study has given a valid measurement." in text
    assert not list((study_dir / "report" / "figures").iterdir())
    assert (study_dir / "report" / "runs.csv").read_bytes() == b""


def test_a_size_measured_once_has_no_interval():
    """SC-065"""
    assert wording.estimate(Estimate(814.2, 814.2, 814.2)) == "814"
    assert wording.estimate(Estimate(1.0, 0.958, 1.043)) == "1.00 (0.96 to 1.04)"
    assert wording.estimate(Estimate(0.0, 0.0, 0.00213)) == "0.00000 (0.00000 to 0.00213)"
    assert wording.estimate(Estimate(math.nan, 1.0, 2.0)) == "–"
    assert words.rounded(1.5e-12) == "1.50e−12"
    assert words.rounded(-0.031) == "−0.0310"


# --- honesty ---------------------------------------------------------------------------------


def lines_of(figure):
    return [line for axes in figure.axes for line in axes.get_lines()]


def test_no_curve_goes_past_twice_the_largest_size():
    """SC-066: although the law of this study tells of four times as many."""
    _, analysis = a_study(nodes=(1, 2, 4), cores=64)
    law = analysis.series[0].laws[0]
    assert max(ranks for ranks, _ in law.curve) == 16
    figure = study_figures(analysis)[0].figure
    reached = max(max(line.get_xdata()) for line in lines_of(figure))
    assert reached == FARTHEST * 4
    dashed = [line for line in lines_of(figure) if line.get_linestyle() == "--"]
    assert len(dashed) == 2  # one per mode
    assert all(min(line.get_xdata()) == 4 for line in dashed)


def test_oversubscribed_sizes_are_marked_everywhere(study_dir):
    """SC-066"""
    collected, analysis = a_study(cores=2)
    throughput, efficiency, parts, *_ = study_figures(analysis)
    for drawn in (throughput, efficiency):
        faces = {}
        for line in lines_of(drawn.figure):
            if line.get_marker() in ("o",):
                faces.setdefault(line.get_xdata()[0], set()).add(line.get_markerfacecolor())
        assert faces[4] == {PAPER}
        assert PAPER not in faces[1] | faces[2]
        legend = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
        assert "open: more threads than cores" in legend
    bars = parts.figure.axes[0].patches
    hatched = {round(bar.get_y() + bar.get_height() / 2) for bar in bars if bar.get_hatch()}
    assert hatched == {2}  # the third bar, of four ranks
    legend = [text.get_text() for text in parts.figure.legends[0].get_texts()]
    assert "hatched: more threads than cores" in legend
    sizes = analysis.series[0].sizes
    for table in (sizes_table("strong", sizes), parts_table("strong", sizes)):
        assert list(table.marked) == [2]
        assert "more threads than cores" in table.caption
    assert "10 of these runs the ranks used more threads" in methods_text(
        collected, analysis, provenance_of(study_dir, collected)
    )


def test_nothing_is_marked_where_there_are_cores_enough():
    """SC-066"""
    _, analysis = a_study(cores=64)
    for drawn in study_figures(analysis):
        for axes in drawn.figure.axes:
            assert not any(bar.get_hatch() for bar in axes.patches)
        legend = drawn.figure.legends[0].get_texts()
        assert not any("cores" in text.get_text() for text in legend)
    assert list(sizes_table("strong", analysis.series[0].sizes).marked) == []


def test_ticks_are_the_measured_sizes_and_legends_lie_beside_the_data():
    """SC-063"""
    _, analysis = a_study(nodes=(1, 2, 4), tasks=(1, 3), modes=("strong",), cores=2)
    for drawn in study_figures(analysis):
        figure = drawn.figure
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width  # nothing is cut off
        assert all(not box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert all(axes.get_xlabel() for axes in figure.axes)
    for axes in study_figures(analysis)[0].figure.axes:
        shown = [tick.get_text() for tick in axes.get_xticklabels()]
        assert shown == ["1", "2", "3", "4", "6", "12"]


def test_sizes_of_a_mode_stand_beside_each_other():
    _, analysis = a_study(nodes=(1, 2), tasks=(1, 2), cores=64)
    drawn = study_figures(analysis)
    assert [each.name for each in drawn] == [
        *("throughput", "efficiency", "parts-strong", "parts-weak"),
        *("start-up-strong", "start-up-weak"),
    ]
    labels = [label.get_text() for label in drawn[2].figure.axes[0].get_yticklabels()]
    assert labels == ["1 rank, 1 node", "2 ranks, 1 node", "2 ranks, 2 nodes", "4 ranks, 2 nodes"]


def test_one_size_alone_has_no_efficiency_curve():
    _, analysis = a_study(nodes=(2,), tasks=(1, 2))
    assert "efficiency" not in [each.name for each in study_figures(analysis)]


def test_labels_of_sizes_close_together_do_not_overlap():
    _, analysis = a_study(nodes=(14, 15, 16, 32))
    axes = study_figures(analysis)[0].figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["14", "32"]


def test_bars_are_as_long_as_the_parts_they_stand_for():
    _, analysis = a_study(cores=64)
    size = analysis.series[0].sizes[1]
    parts = study_figures(analysis)[2].figure.axes[0]
    widths = [b.get_width() for b in parts.patches if round(b.get_y() + b.get_height() / 2) == 1]
    assert widths == pytest.approx([1000 * size.parts_s[p] for p in PARTS if size.parts_s[p]])
    assert sum(widths) == pytest.approx(1000 * size.step_s.value)


def test_laws_show_their_intervals_and_what_they_foretold():
    _, analysis = a_study()
    (row,) = laws_table(analysis.series[0]).rows
    assert row[0] == "USL (chosen)"
    assert "contention 0.0600 (0.0480 to 0.0720)" in row[2]
    assert "X1 250 (240 to 260) samples/s" in row[2]
    assert row[3] == "4 ranks: −3.10 %"


# --- methods and provenance ------------------------------------------------------------------


def test_the_methods_paragraph_holds_the_numbers(study_dir):
    """SC-067"""
    collected, analysis = a_study(with_missing=True, cores=64)
    text = methods_text(collected, analysis, provenance_of(study_dir, collected))
    for said in (
        "strong and weak scaling of the training siemens",
        "on 1, 2 and 4 nodes with 1 rank per node",
        "keeps the global batch of 32 samples constant",
        "the batch of 8 samples per rank constant, with the learning rate scaled with the square "
        "root of the global batch, from 0.001 at a global batch of 32",
        "Each size was run 5 times",
        "(seed 1234)",
        "Of 30 runs, 29 gave a measurement",
        "measured 20 optimizer steps, after 5 optimizer steps of warm-up",
        "95 % confidence intervals: bootstrap of the repeats, percentiles, with 2000 resamples.",
        "Gunther 2007",
        "predicted the throughput at the held-out size of 4 ranks within 3.10 %",
        "No statement is made about sizes beyond twice the largest measured size",
        "cpu on 4 nodes (1 machine)",
    ):
        assert said in text, said
    assert "more threads" not in text
    assert "\n" not in text


def test_provenance_says_what_the_ranks_said(study_dir):
    """SC-068"""
    collected, _ = a_study(device="cuda")
    write_json_atomic(
        study_dir / "code.json",
        {"format": 1, "states": [{
            "sha256": "c0de" * 16, "installed": {"version": "0.1.0"}, "diff": "code.diff",
            "checkouts": {"/src": {"commit": "abc" * 13 + "d", "dirty": True, "changed": ["a.py"]}},
        }]},
    )  # fmt: skip
    for each in collected.measured[:3]:
        member(study_dir, each.run_id, joined())
    found = provenance_of(study_dir, collected)
    assert found.versions_of == "ranks"
    assert found.versions["torch"] == "2.9.9"
    assert found.devices == ("NVIDIA A100",)
    assert found.backends == ("nccl",)
    assert found.slurm_cluster == ("perlmutter",)
    assert found.partitions == ("gpu",)
    assert found.variables == {"NCCL_DEBUG": "INFO"}
    assert found.code[0].checkouts[0].commit == "abc" * 13 + "d"
    assert found.code[0].checkouts[0].dirty is True
    text = ReadPage(page_of(study_dir, *a_study(device="cuda", **SMALL))).text
    for said in (
        "abcabcabc",
        "with uncommitted changes",
        "a.py",
        "code.diff",
        "perlmutter",
        "2.21.5",
        "INFO",
    ):
        assert said in text
    text = methods_text(*a_study(device="cuda", **SMALL), found)
    assert "NVIDIA A100" in text
    assert "commit abcabcabcabc with uncommitted changes" in text
    assert "torch.distributed over nccl" in text
    assert "nccl 2.21.5" in text


def test_versions_of_the_launcher_are_said_to_be_its_own(study_dir):
    """SC-068"""
    collected, analysis = a_study(**SMALL)
    found = provenance_of(study_dir, collected)
    assert found.versions_of == "launcher"
    assert found.versions["python"]
    assert "of the launcher that made this report, because the runs recorded none" in page_of(
        study_dir, collected, analysis
    )
    assert "Software (of the launcher)" in methods_text(collected, analysis, found)


def test_runs_that_differ_are_told_of(study_dir):
    """SC-068"""
    collected, analysis = a_study(**SMALL)
    first, second = collected.measured[:2]
    member(study_dir, first.run_id, joined())
    states = {"format": 1, "states": [{"sha256": "b" * 64}]}
    member(
        study_dir, second.run_id, joined(versions={"torch": "3.0.0"}),
        code=states | {"states": [{"sha256": "a" * 64}]},
    )  # fmt: skip
    write_json_atomic(study_dir / "code.json", states)
    found = provenance_of(study_dir, collected)
    assert found.versions["torch"] == "2.9.9, 3.0.0"
    assert len(found.code) == 2
    assert "used 2 different states of the code" in page_of(study_dir, collected, analysis)


def test_the_latest_attempt_speaks_for_a_run(study_dir):
    collected, _ = a_study()
    run_id = collected.measured[0].run_id
    member(study_dir, run_id, joined(versions={"torch": "1"}))
    member(study_dir, run_id, {"event": "failed"}, attempt=3)
    member(study_dir, run_id, {"event": "x"}, joined(versions={"torch": "2"}), attempt=2)
    assert provenance_of(study_dir, collected).versions["torch"] == "2"


@pytest.mark.parametrize(
    "event",
    [
        joined(versions=7, variables=[1], device_name={}, backend=None, device=3),
        joined(versions={"torch": ["x"]}, variables={"NCCL_DEBUG": float(2**70)}),
        {"event": ["joined"]},
        {"event": "joined", "versions": {"t" * 10**4: "v" * 10**5}},
    ],
)
def test_damaged_records_are_left_out(study_dir, event):
    """SC-068"""
    collected, analysis = a_study(**SMALL)
    for each in collected.measured[:2]:
        member(study_dir, each.run_id, event, plan={"resources": {"partition": [1]}})
    write_json_atomic(
        study_dir / "code.json",
        {"states": [3, {"checkouts": [], "sha256": 1, "installed": 4}, {"checkouts": {"a": {
            "changed": "x", "dirty": "yes", "commit": 5}}}]},
    )  # fmt: skip
    written = page_of(study_dir, collected, analysis)
    assert len(written) < 10**6
    (study_dir / "code.json").write_text("[[[")
    assert provenance_of(study_dir, collected).code == ()


def test_no_secret_leaves_with_a_report(study_dir, monkeypatch):
    """SC-068: a report is sent to strangers."""
    monkeypatch.setenv("HF_TOKEN", "hunter2hunter2")
    collected, analysis = a_study(**SMALL)
    words = ("ptycho-launch", "scale", "run.yaml", "--set", "environment.env={K: hunter2hunter2}")
    collected = replace(collected, study=replace(collected.study, command=words))
    written = write_study_report(study_dir, collected, analysis)
    for path in (study_dir / "report").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path
    assert "[removed]" in written.page.read_text()


# --- the files -------------------------------------------------------------------------------


def rows_of(written):
    return list(csv.DictReader(io.StringIO(written.decode(), newline="")))


def test_all_files_are_written_whole(study_dir):
    """SC-069"""
    collected, analysis = a_study(deadline=DEADLINE, **SMALL)
    written = write_study_report(study_dir, collected, analysis)
    folder = study_dir / "report"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    stems = {"throughput", "efficiency", "parts-strong", "start-up-strong"}
    assert names == {"report.html", "sizes.csv", "runs.csv", "study-report.json"} | {
        f"figures/{stem}.{kind}" for stem in stems for kind in ("png", "svg")
    }
    assert written.page == folder / "report.html"
    for path in folder.glob("figures/*.svg"):
        assert ElementTree.fromstring(path.read_text()).tag.endswith("svg")
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_study_report(study_dir, collected, analysis)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert before == after


def test_a_disk_that_refuses_is_named(study_dir):
    (study_dir / "report").write_text("in the way")
    with pytest.raises(UserError, match=r"report: the report cannot be written: Not a dir"):
        write_study_report(study_dir, *a_study(**SMALL))


def test_the_json_holds_everything(study_dir):
    """SC-069"""
    collected, analysis = a_study(with_missing=True, deadline=DEADLINE)
    first = replace(collected.measured[0], loss=math.nan)
    collected = replace(collected, measured=(first, *collected.measured[1:]))
    data = report_data(collected, analysis, provenance_of(study_dir, collected))
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again["format"] == 1
    assert again["study"]["seed"] == 1234
    assert len(again["runs"]["measured"]) == 29
    assert again["runs"]["measured"][0]["loss"] is None
    assert again["runs"]["missing"][0]["why"] == "rank 1 ran out of memory"
    assert again["analysis"]["series"][0]["sizes"][0]["throughput"]["value"] == pytest.approx(250)
    assert again["analysis"]["deadline"]["nodes"] == 3
    assert again["provenance"]["config_sha256"] == "5e0f" * 16


def test_the_csv_says_its_units_and_its_values():
    """SC-069"""
    collected, analysis = a_study()
    sizes = rows_of(sizes_csv(analysis))
    assert len(sizes) == 6
    assert [row["ranks"] for row in sizes] == ["1", "2", "4"] * 2
    assert float(sizes[0]["throughput_samples_per_s"]) == pytest.approx(250)
    assert float(sizes[0]["throughput_samples_per_s_low"]) == pytest.approx(240)
    assert sizes[2]["oversubscribed"] == "true"
    assert sizes[0]["device_peak_bytes"] == ""
    runs = rows_of(runs_csv(collected))
    assert len(runs) == 30
    assert [row["order"] for row in runs] == [str(number) for number in range(30)]
    parts = sum(float(runs[0][f"{part}_s"]) for part in PARTS)
    assert parts == pytest.approx(float(runs[0]["wall_s"]))
    units = re.compile(r"_(s|ms|bytes|samples|samples_per_s|s_per_step)(_low|_high)?$")
    plain = {
        *("run", "modes", "mode", "nodes", "tasks_per_node", "ranks", "repeat", "order", "runs"),
        *("learning_rate", "steps", "samples", "goodput", "attempts", "loss", "gpu_utilisation"),
        *("machines", "cores", "threads", "device", "node_names", "oversubscribed"),
        *("time_to_solution_runs",),
    }
    for name in (*sizes[0], *runs[0]):
        ratio = re.fullmatch(r"(speedup|efficiency)(_low|_high)?", name)
        assert name in plain or ratio or units.search(name), name


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1", "\r=1", "\x1b=1"])
def test_no_cell_is_a_formula(name):
    """SC-069: names come from files that anybody may have written."""
    collected, _ = a_study(repeats=1)
    measured = replace(collected.measured[0], device=name, nodes=(name,), run_id=name)
    (row,) = rows_of(runs_csv(replace(collected, measured=(measured,))))
    for column in ("run", "device", "node_names"):
        assert row[column][0] not in "=+-@\t\r"
        assert name.strip("\t\r\x1b")[1:] in row[column]


def test_the_commands_of_a_login_node_load_neither_figures_nor_templates():
    """SC-060"""
    code = (
        "import launcher.cli, launcher.commands.scale_report, sys; "
        "found = {'matplotlib', 'jinja2', 'numpy', 'rich'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANG_S)
