"""The figures of a study's report: throughput, efficiency, the parts of a step, start-up."""

from __future__ import annotations

from launcher.scaling.analysis.results import StudyAnalysis
from launcher.scaling.report.bars import has_start_up, parts, start_up
from launcher.scaling.report.curves import efficiency, throughput
from launcher.scaling.report.drawn import Drawn
from launcher.scaling.report.wording import by_mode


def study_figures(analysis: StudyAnalysis) -> list[Drawn]:
    """All figures in the order of the page; empty where nothing was measured."""
    measured = [series for series in analysis.series if series.sizes]
    if not measured:
        return []
    modes = by_mode(measured)
    figures = [throughput(measured)]
    if any(len(series.sizes) > 1 for series in measured):
        figures.append(efficiency(measured))
    figures += [parts(mode, sizes) for mode, sizes in modes.items()]
    figures += [start_up(mode, sizes) for mode, sizes in modes.items() if has_start_up(sizes)]
    return figures
