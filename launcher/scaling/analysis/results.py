"""What a study has measured, and what follows from it: the types between collecting, analysis and
report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from launcher.scaling.study.definition import LrRule, Mode, Point, Study
from launcher.timing.attribution import Attribution


@dataclass(frozen=True)
class Measurement:
    """One run of a study that has measured something."""

    point: Point
    run_id: str
    started_at: float
    attribution: Attribution
    """Of the steps that count."""
    start_up_s: dict[str, float]
    """queue (from when it could have begun), launch (to the first rank's process), then START_UP:
    the slowest rank's each."""
    job_s: float
    """From the first attempt's start to the last one's end, waits between attempts included."""
    goodput: float
    """Part of the time of all attempts in which steps were made that are in the weights."""
    attempts: int
    time_to_solution_s: float | None
    """From the start of the first attempt, data staging included, until the target loss was
    reached; None: no target was asked for, or it was not reached."""
    loss: float | None
    host_peak_bytes: int | None
    """Of the rank that needs most."""
    device_peak_bytes: int | None
    gpu_utilisation: float | None
    """Mean over the ranks, 0 to 1."""
    machines: int
    """Different operating systems: nodes may share one."""
    cores: int
    """Of all these machines."""
    threads: int
    """Of all ranks."""
    device: str
    nodes: tuple[str, ...]

    @property
    def oversubscribed(self) -> bool:
        """Whether the ranks compute on the CPU with more threads than there are cores."""
        return self.device == "cpu" and 0 < self.cores < self.threads


@dataclass(frozen=True)
class Missing:
    """A point that has measured nothing that counts."""

    point: Point
    run_id: str
    state: str
    """Of the run."""
    why: str


@dataclass(frozen=True)
class Collected:
    """All points of a study."""

    study: Study
    measured: tuple[Measurement, ...]
    missing: tuple[Missing, ...]


# --- the analysis ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Size:
    """All repeats of one size."""

    nodes: int
    tasks_per_node: int
    ranks: int
    repeats: int
    """That have measured."""
    throughput: Estimate
    """Samples/s of all ranks."""
    step_s: Estimate
    speedup: Estimate
    """Throughput beside that of the smallest size of the series."""
    efficiency: Estimate
    """Speed-up beside that of the ranks; 1 at the smallest size."""
    parts_s: dict[str, float]
    """Per step: PARTS."""
    start_up_s: dict[str, float]
    time_to_solution_s: float | None
    """By MLPerf HPC's rule: mean without the fastest and the slowest, of five runs or more."""
    time_to_solution_runs: int
    goodput: float
    host_peak_bytes: int | None
    device_peak_bytes: int | None
    gpu_utilisation: float | None
    oversubscribed: bool
    time_to_solution_mean_s: float | None = None
    """The plain mean of the runs that reached the target, however many."""


@dataclass(frozen=True)
class Law:
    """A scaling law, fitted to a series."""

    name: str
    """Amdahl, Gustafson, USL."""
    formula: str
    source: str
    parameters: dict[str, Estimate]
    """X1: samples/s of one rank; serial: the serial part; contention, coherency: of the USL."""
    held_out_ranks: int | None
    """The size left out to choose between the laws; None: there were too few."""
    held_out_error: float | None
    """(predicted − measured) / measured there."""
    curve: tuple[tuple[float, float], ...]
    """(ranks, samples/s) up to the limit of what may be said."""


@dataclass(frozen=True)
class Series:
    """The sizes of one mode with one number of tasks per node."""

    mode: Mode
    tasks_per_node: int
    sizes: tuple[Size, ...]
    """By ranks."""
    laws: tuple[Law, ...]
    chosen: str | None
    """Name of the law that predicts the held-out size best."""
    why_chosen: str
    knee_ranks: int | None
    """The largest measured size before one more doubling brings less than it should."""
    knee_why: str
    limits: tuple[str, ...]
    """What limits it, in sentences, from the parts of a step."""


@dataclass(frozen=True)
class ForDeadline:
    """The cheapest size that does the work of the config in time."""

    deadline_s: float
    mode: Mode
    nodes: int | None
    """None: none of what may be said does."""
    tasks_per_node: int | None
    hours: float | None
    node_hours: float | None
    extrapolated: bool
    why: str


@dataclass(frozen=True)
class StudyAnalysis:
    """What follows from a study."""

    series: tuple[Series, ...]
    deadline: ForDeadline | None
    warnings: tuple[str, ...]
    """What a referee would ask about: oversubscribed points, missing ones, drift, few repeats."""
    lr_rule: LrRule
    methods: dict[str, Any] = field(default_factory=dict)
    """Numbers of the methods paragraph: resamples, confidence, drop rule."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
