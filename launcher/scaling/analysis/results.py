"""Types of a study's results: the measurements, and the analysis that the report shows."""

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
    """Time of the measured steps, by part."""
    start_up_s: dict[str, float]
    """Seconds in each of STAGES before the first batch of the last attempt, those of the slowest
    rank in each stage."""
    job_s: float
    """Seconds from the first attempt's start to the last one's end, waits in between included."""
    goodput: float
    """Useful time over the time of all attempts, 0 to 1 (launcher.timing.goodput)."""
    attempts: int
    time_to_solution_s: float | None
    """Seconds from the start of the first attempt, data staging included, until the target loss was
    reached; None: there was no target, or it was not reached."""
    loss: float | None
    host_peak_bytes: int | None
    """Peak host memory of the rank that needs most."""
    device_peak_bytes: int | None
    gpu_utilisation: float | None
    """Mean over the ranks, 0 to 1; None: not recorded."""
    machines: int
    """Number of different operating systems, which nodes may share."""
    cores: int
    """Number of cores of all these machines."""
    threads: int
    """Number of threads of all ranks."""
    device: str
    nodes: tuple[str, ...]

    @property
    def oversubscribed(self) -> bool:
        """Whether the ranks compute on the CPU with more threads than there are cores."""
        return self.device == "cpu" and 0 < self.cores < self.threads


@dataclass(frozen=True)
class Missing:
    """A point without a valid measurement."""

    point: Point
    run_id: str
    state: str
    """State of the run, as `status` says it."""
    why: str
    """Why there is no measurement."""


@dataclass(frozen=True)
class Collected:
    """All points of a study, with and without a measurement."""

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
    """The repeats of one size, taken together."""

    nodes: int
    tasks_per_node: int
    ranks: int
    repeats: int
    """Number of runs with a measurement."""
    throughput: Estimate
    """Samples/s of all ranks."""
    step_s: Estimate
    speedup: Estimate
    """Throughput relative to the smallest size of the series."""
    efficiency: Estimate
    """Speed-up over the ratio of the ranks; 1 at the smallest size."""
    parts_s: dict[str, float]
    """Seconds per step in each of PARTS."""
    start_up_s: dict[str, float]
    time_to_solution_s: float | None
    """By the rule of MLPerf HPC: the mean without the fastest and the slowest of at least five
    runs."""
    time_to_solution_runs: int
    goodput: float
    host_peak_bytes: int | None
    device_peak_bytes: int | None
    gpu_utilisation: float | None
    oversubscribed: bool
    time_to_solution_mean_s: float | None = None
    """Plain mean of the runs that reached the target, whatever their number."""


@dataclass(frozen=True)
class Law:
    """A scaling law, fitted to a series."""

    name: str
    """`Amdahl`, `Gustafson` or `USL`."""
    formula: str
    source: str
    parameters: dict[str, Estimate]
    """X1: samples/s of one rank; serial: the serial fraction; contention and coherency: those of
    the USL."""
    held_out_ranks: int | None
    """The size held out to choose between the laws; None: there were too few sizes."""
    held_out_error: float | None
    """(predicted − measured) / measured at the held-out size."""
    curve: tuple[tuple[float, float], ...]
    """Pairs of ranks and samples/s, up to twice the largest measured size."""


@dataclass(frozen=True)
class Series:
    """The sizes of one mode with one number of tasks per node."""

    mode: Mode
    tasks_per_node: int
    sizes: tuple[Size, ...]
    """The sizes in the order of their ranks."""
    laws: tuple[Law, ...]
    chosen: str | None
    """Name of the chosen law; None: there are too few sizes for any."""
    why_chosen: str
    knee_ranks: int | None
    """The size from which one more doubling gains too little; None: there is none."""
    knee_why: str
    limits: tuple[str, ...]
    """What limits the scaling, in sentences."""


@dataclass(frozen=True, kw_only=True)
class ForDeadline:
    """The cheapest size that does the work of the config before a deadline."""

    deadline_s: float
    mode: Mode
    nodes: int | None = None
    """None: no measured or predicted size is fast enough."""
    tasks_per_node: int | None = None
    hours: float | None = None
    node_hours: float | None = None
    extrapolated: bool = False
    """Whether the size is larger than every measured one."""
    why: str


@dataclass(frozen=True)
class StudyAnalysis:
    """The analysis of a study."""

    series: tuple[Series, ...]
    deadline: ForDeadline | None
    warnings: tuple[str, ...]
    """Caveats in sentences: oversubscribed points, missing points, drift, few repeats."""
    lr_rule: LrRule
    methods: dict[str, Any] = field(default_factory=dict)
    """Numbers and texts for the methods paragraph."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
