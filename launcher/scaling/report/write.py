"""The files of a study's report: STUDY/report/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.pages.drawing import png_of, standalone_svg
from launcher.pages.html import render_page
from launcher.scaling.analysis.results import Collected, StudyAnalysis
from launcher.scaling.report.figures import study_figures
from launcher.scaling.report.files import report_data, report_json, runs_csv, sizes_csv
from launcher.scaling.report.provenance import provenance_of
from launcher.scaling.report.study_page import finding, study_page
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_bytes_atomic


@dataclass(frozen=True)
class Written:
    """A report that has been written."""

    page: Path
    """Path of report.html; the other files lie beside it."""
    finding: str
    warnings: tuple[str, ...]
    data: dict[str, Any]
    """Content of study-report.json."""


def write_study_report(study_dir: Path, collected: Collected, analysis: StudyAnalysis) -> Written:
    """Write all files of the report; the page comes last, so that all files it names exist.

    Raises:
        UserError: a file cannot be written.
    """
    origin = provenance_of(study_dir, collected)
    figures = study_figures(analysis)
    page = study_page(collected, analysis, origin, figures)
    data = report_data(collected, analysis, origin)
    files = {
        "sizes.csv": sizes_csv(analysis),
        "runs.csv": runs_csv(collected),
        "study-report.json": report_json(data),
    }
    for drawn in figures:
        files[f"figures/{drawn.name}.svg"] = standalone_svg(drawn.figure)
        files[f"figures/{drawn.name}.png"] = png_of(drawn.figure)
    files["report.html"] = render_page(page).encode("utf-8", "replace")
    folder = study_dir / "report"
    try:
        (folder / "figures").mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            write_bytes_atomic(folder / name, content)
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written: {error.strerror}") from None
    return Written(
        folder / "report.html",
        finding([series for series in analysis.series if series.sizes]),
        analysis.warnings,
        data,
    )
