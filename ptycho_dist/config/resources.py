"""The `resources:` and `requeue:` blocks: what the scheduler is asked for, and restarts."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.sbatch_options import refusal
from ptycho_dist.config.strictness import STRICT

_WALLTIME = re.compile(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{2}))?(?::(\d{2}))?")
_MEGABYTES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_MOST_MB = 10**15


def walltime_seconds(text: str) -> int:
    """Convert a SLURM time to seconds: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS (sbatch(1)).

    Raises:
        ValueError: the text is not such a time, is zero, or has minutes or seconds over 59.
    """
    match = _WALLTIME.fullmatch(text)
    if match is None:
        raise ValueError('must be a time such as "02:00:00" or "1-12:00:00"')
    days, first, second, third = match.groups()
    if days is not None:
        hours, minutes, seconds = int(first), int(second or 0), int(third or 0)
    elif third is not None:
        hours, minutes, seconds = int(first), int(second), int(third)
    else:
        hours, minutes, seconds = 0, int(first), int(second or 0)
    if seconds > 59 or (minutes > 59 and (days is not None or third is not None)):
        raise ValueError("minutes and seconds must be at most 59")
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise ValueError("must be longer than zero")
    return total


def checked_walltime(text: str) -> str:
    """Return a SLURM time as it is; raises what `walltime_seconds` raises."""
    walltime_seconds(text)
    return text


def memory_mb(text: str) -> int | None:
    """Megabytes of `200G`, `4096`, `1.5T` or `10Gn`; None if the text is no amount (sbatch(1))."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP])?[a-z]?", text.strip(), re.ASCII)
    if match is None:
        return None
    return int(min(_MOST_MB, float(match[1]) * _MEGABYTES[match[2] or "M"]))


# The value of one directive: no white space, quotes, control characters or leading dash.
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
        int | None,
        Field(ge=1, le=100_000, description="Number of nodes. none: execution.num_nodes, else 1."),
    ] = None
    tasks_per_node: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Ranks per node. none: gpus_per_node, else execution.devices, else 1.",
        ),
    ] = None
    gpus_per_node: Annotated[
        int | None,
        Field(
            ge=1,
            le=64,
            description="GPUs per node. Each rank sees all of them and uses one. none: no GPU "
            "is requested.",
        ),
    ] = None
    cpus_per_task: Annotated[
        int,
        Field(ge=1, le=4096, description="CPUs per rank, and the number of threads that it uses."),
    ] = 1
    mem_per_node: Annotated[
        str | None,
        Field(
            pattern=r"^[1-9][0-9]*[KMGT]?$",
            description="Memory per node, for example 200G. none: the site's default.",
        ),
    ] = None
    time: Annotated[
        str,
        AfterValidator(checked_walltime),
        Field(
            description='Walltime in the format of sbatch, in quotes: "02:00:00" or "1-12:00:00".'
        ),
    ] = "01:00:00"
    partition: Annotated[SchedulerName | None, Field(description="SLURM partition.")] = None
    account: Annotated[SchedulerName | None, Field(description="Account to charge.")] = None
    qos: Annotated[SchedulerName | None, Field(description="Quality of service (QOS).")] = None
    constraint: Annotated[
        NodeConstraint | None, Field(description="Required node features, in the syntax of sbatch.")
    ] = None
    gpu_type: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
            max_length=64,
            description="GPU model, as the site names it in its generic resources (GRES).",
        ),
    ] = None
    exclusive: Annotated[bool, Field(description="Do not share the nodes with other jobs.")] = False
    reservation: Annotated[SchedulerName | None, Field(description="Reservation to use.")] = None
    mail_type: Annotated[
        tuple[MailEvent, ...],
        Field(strict=False, description="Events for which SLURM sends mail."),
    ] = ()
    mail_user: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_.+-]+(@[A-Za-z0-9.-]+)?$",
            max_length=254,
            description="Recipient of the mail. none: the submitting user.",
        ),
    ] = None
    sbatch_options: Annotated[
        dict[OptionName, OptionValue],
        AfterValidator(_checked_options),
        Field(
            description="Further sbatch options by their long names; an empty text stands for "
            'an option without a value: {licenses: "scratch:1", contiguous: ""}. Options that '
            "would break the contract of a run are refused."
        ),
    ] = Field(default_factory=dict)


RestartCause = Literal["preempt", "timeout", "node_fail", "crash"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RequeueConfig:
    """The `requeue:` block of run.yaml: when and how often a run restarts by itself."""

    on: Annotated[
        tuple[RestartCause, ...],
        Field(
            strict=False,
            description="Causes after which the run restarts by itself: preempt (asked to "
            "stop before its walltime), timeout (reached its walltime), node_fail (lost a "
            "node), crash. []: never.",
        ),
    ] = ("preempt", "timeout", "node_fail")
    max_restarts: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Number of automatic restarts allowed since a person last started the run.",
        ),
    ] = 10
    backoff_s: Annotated[
        int,
        Field(
            ge=0,
            le=86_400,
            description="Seconds to wait before a restart after a crash or a lost node. "
            "Doubles with each such failure in a row, up to 15 minutes or this value, whichever "
            "is longer.",
        ),
    ] = 30
    signal_lead_s: Annotated[
        Annotated[int, Field(ge=10, le=65535)] | Literal["auto"],
        Field(
            description="Seconds before the walltime at which the ranks are asked to stop. "
            "auto: worked out from the longest measured step and checkpoint, which the ranks "
            "also update; 120 until something is measured."
        ),
    ] = "auto"
