"""What the scheduler is asked for, and how long before its end a job is told to stop."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.sbatch_options import refusal
from ptycho_dist.config.strictness import STRICT

_WALLTIME = re.compile(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{2}))?(?::(\d{2}))?")


def walltime_seconds(text: str) -> int:
    """Seconds of a SLURM time: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS (sbatch(1)).

    Raises:
        ValueError: not such a time, minutes or seconds over 59, or zero.
    """
    match = _WALLTIME.fullmatch(text)
    if match is None:
        raise ValueError('a time such as "02:00:00" or "1-12:00:00" is expected')
    days, first, second, third = match.groups()
    if days is not None:
        hours, minutes, seconds = int(first), int(second or 0), int(third or 0)
    elif third is not None:
        hours, minutes, seconds = int(first), int(second), int(third)
    else:
        hours, minutes, seconds = 0, int(first), int(second or 0)
    if seconds > 59 or (minutes > 59 and (days is not None or third is not None)):
        raise ValueError("minutes and seconds go up to 59")
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise ValueError("the walltime is zero")
    return total


def _checked_walltime(text: str) -> str:
    walltime_seconds(text)
    return text


# One directive's value: no white space, quotes or control characters, and no leading dash.
SchedulerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,][A-Za-z0-9_.,@+-]*$", max_length=256)]
NodeConstraint = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.(\[][A-Za-z0-9_.,:&|()\[\]*+@=-]*$", max_length=256)
]
MailEvent = Literal[
    "BEGIN",
    "END",
    "FAIL",
    "REQUEUE",
    "INVALID_DEPEND",
    "TIME_LIMIT",
    "TIME_LIMIT_90",
    "TIME_LIMIT_80",
    "TIME_LIMIT_50",
    "ALL",
]
OptionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
OptionValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:;@+=/*&|()\[\]~-]*$", max_length=1024)]


def _checked_options(options: dict[str, str]) -> dict[str, str]:
    refused = [why for name, value in options.items() if (why := refusal(name, value))]
    if refused:
        raise ValueError("; ".join(refused))
    return options


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ResourcesConfig:
    """The `resources:` block of run.yaml. Ranks = nodes × tasks_per_node."""

    nodes: Annotated[
        int | None, Field(ge=1, le=100_000, description="Nodes; none: execution.num_nodes, else 1.")
    ] = None
    tasks_per_node: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Ranks per node; none: gpus_per_node, else execution.devices, else 1.",
        ),
    ] = None
    gpus_per_node: Annotated[
        int | None, Field(ge=1, le=64, description="GPUs per node, all visible to each rank.")
    ] = None
    cpus_per_task: Annotated[
        int, Field(ge=1, le=4096, description="CPUs per rank, and its threads.")
    ] = 1
    mem_per_node: Annotated[
        str | None,
        Field(pattern=r"^[1-9][0-9]*[KMGT]?$", description="Memory per node, such as 200G."),
    ] = None
    time: Annotated[
        str,
        AfterValidator(_checked_walltime),
        Field(description='Walltime as sbatch takes it, quoted: "02:00:00", "1-12:00:00".'),
    ] = "01:00:00"
    partition: Annotated[SchedulerName | None, Field(description="Partition.")] = None
    account: Annotated[SchedulerName | None, Field(description="Account that is charged.")] = None
    qos: Annotated[SchedulerName | None, Field(description="Quality of service.")] = None
    constraint: Annotated[
        NodeConstraint | None, Field(description="Node features, as sbatch takes them.")
    ] = None
    gpu_type: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
            max_length=64,
            description="Kind of the GPUs, as the site names it in its gres.",
        ),
    ] = None
    exclusive: Annotated[bool, Field(description="Nodes that no other job shares.")] = False
    reservation: Annotated[SchedulerName | None, Field(description="Reservation.")] = None
    mail_type: Annotated[
        tuple[MailEvent, ...],
        Field(strict=False, description="When SLURM sends mail."),
    ] = ()
    mail_user: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_.+-]+(@[A-Za-z0-9.-]+)?$",
            max_length=254,
            description="To whom; none: to the user who submits.",
        ),
    ] = None
    sbatch_options: Annotated[
        dict[OptionName, OptionValue],
        AfterValidator(_checked_options),
        Field(
            description="Further options of sbatch by their long names, an empty text for one "
            'without a value: {licenses: "scratch:1", contiguous: ""}. Those that would break '
            "the run's contract are refused."
        ),
    ] = Field(default_factory=dict)


RestartCause = Literal["preempt", "timeout", "node_fail", "crash"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RequeueConfig:
    """The `requeue:` block of run.yaml."""

    on: Annotated[
        tuple[RestartCause, ...],
        Field(
            strict=False,
            description="After which ends the run starts again by itself: preempt (asked to stop "
            "before its walltime), timeout (at its walltime), node_fail, crash; []: never.",
        ),
    ] = ("preempt", "timeout", "node_fail")
    max_restarts: Annotated[
        int,
        Field(ge=0, le=10_000, description="How often it does so, since a person last started it."),
    ] = 10
    backoff_s: Annotated[
        int,
        Field(
            ge=0,
            le=86_400,
            description="Wait after a crash or a lost node; doubled each time in a row, 15 "
            "minutes at most unless this is more.",
        ),
    ] = 30
    signal_lead_s: Annotated[
        Annotated[int, Field(ge=10, le=65535)] | Literal["auto"],
        Field(
            description="Seconds before the walltime at which the ranks are told to stop. auto: as "
            "step and checkpoint were measured to need, by the ranks too; 120 while nothing was "
            "measured."
        ),
    ] = "auto"
