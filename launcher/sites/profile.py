"""The content of a site profile: defaults, limits and rules of one cluster, as typed data.

A profile is YAML (specs/run_config.md, RC-101). Its defaults are fields of run.yaml; its limits and
rules affect the plan and the batch script. The other entries are for people to read.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ptycho_dist.config.environment import OneLine
from ptycho_dist.config.faults import ConfigError, Fault, faults_of, sections
from ptycho_dist.config.resources import (
    NodeConstraint,
    ResourcesConfig,
    SchedulerName,
    checked_walltime,
)
from ptycho_dist.config.strictness import STRICT

Walltime = Annotated[str, AfterValidator(checked_walltime)]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*[KMGT]?$", max_length=32)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Text = Annotated[OneLine, Field(min_length=1, max_length=1000)]
Date = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Address = Annotated[OneLine, Field(pattern=r"^https?://[^\s]+$", max_length=1000)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
Section = Literal["resources", "requeue", "environment", "execution"]
GpuSpelling = Literal["gpus-per-node", "gres", "with-node"]


def _field_of_resources(name: str) -> str:
    known = [field.name for field in dataclasses.fields(ResourcesConfig)]
    if name not in known:
        raise ValueError(f"must be a field of resources: {', '.join(known)}")
    return name


@dataclass(frozen=True, kw_only=True, config=STRICT)
class QosLimits:
    """Limits of a job in a QOS."""

    max_time: Walltime | None = None
    max_nodes: Count | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PartitionLimits:
    """Limits of a job in a partition, and the size of its nodes."""

    max_time: Walltime | None = None
    max_nodes: Count | None = None
    max_time_up_to_nodes: dict[Count, Walltime] = Field(default_factory=dict)
    """Number of nodes → longest walltime of jobs with at most that many nodes."""
    cpus_per_node: Count | None = None
    """CPUs as SLURM counts them; hardware threads if the site schedules these."""
    gpus_per_node: Annotated[int | None, Field(ge=0, le=64)] = None
    gpu_type: Text | None = None
    mem_per_node: Memory | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SiteRules:
    """How resources must be requested at the site."""

    mem_per_node: Literal["allowed", "forbidden", "required"] = "allowed"
    gpus_as: GpuSpelling = "gpus-per-node"
    """How sbatch is asked for GPUs; with-node: not at all, because they come with the node."""
    required: tuple[Annotated[str, AfterValidator(_field_of_resources)], ...] = Field(
        default=(), strict=False
    )
    """Fields of `resources` that the site requires."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SiteProfile:
    """The content of one profile."""

    title: Text
    documentation: Address | None = None
    checked: Date | None = None
    """Date on which the profile was last compared with its sources."""
    detect: dict[Variable, Text] = Field(default_factory=dict)
    """Environment variable → value by which a login node of the site is recognised."""
    defaults: dict[Section, dict[str, Any]] = Field(default_factory=dict)
    partitions: dict[SchedulerName, PartitionLimits] = Field(default_factory=dict)
    qos: dict[SchedulerName, QosLimits] = Field(default_factory=dict)
    rules: SiteRules = Field(default_factory=SiteRules)
    constraints: dict[NodeConstraint, Text] = Field(default_factory=dict)
    """Node feature → what it means."""
    scratch: Text | None = None
    containers: tuple[Text, ...] = Field(default=(), strict=False)
    notes: tuple[Text, ...] = Field(default=(), strict=False)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PlannedSite:
    """The limits and rules of a profile, as plan.json keeps them.

    A resumed run is planned by the rules with which it was submitted, even if the profile changed.
    """

    name: str
    partitions: dict[str, PartitionLimits] = Field(default_factory=dict)
    qos: dict[str, QosLimits] = Field(default_factory=dict)
    rules: SiteRules = Field(default_factory=SiteRules)

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json; `decode_planned_site` reads it back."""
        data: dict[str, Any] = _planned_adapter().dump_python(
            self, mode="json", exclude_defaults=True
        )
        return data


def planned_site(name: str, profile: SiteProfile) -> PlannedSite:
    """Return the part of a profile that a plan uses."""
    return PlannedSite(
        name=name, partitions=profile.partitions, qos=profile.qos, rules=profile.rules
    )


def decode_planned_site(data: Any, source: str) -> PlannedSite:
    """Decode and check the site of a plan.json.

    Args:
        data: plain data in the format of `PlannedSite.to_json`.
        source: the file, for messages.

    Raises:
        ConfigError: the data is damaged.
    """
    try:
        return _planned_adapter().validate_json(_encoded(data))
    except ValidationError as error:
        raise ConfigError(source, [*_faults(error, PlannedSite, "site.")]) from None


def decode_profile(data: Any, source: str) -> SiteProfile:
    """Check plain data against the types and rules of a profile.

    Args:
        data: the parsed YAML.
        source: the file, for messages.

    Raises:
        ConfigError: with every fault, each with its key (`partitions.gpu.max_time`).
    """
    if not isinstance(data, dict):
        raise ConfigError(source, [Fault("", "must be a mapping with at least a title")])
    try:
        profile = _profile_adapter().validate_json(_encoded(data))
    except ValidationError as error:
        raise ConfigError(source, [*_faults(error, SiteProfile)]) from None
    faults = [fault for name, block in profile.defaults.items() for fault in _of(name, block)]
    if faults:
        raise ConfigError(source, faults)
    return profile


def profile_to_json(profile: SiteProfile) -> dict[str, Any]:
    """Return a profile as plain data, without entries that have their defaults."""
    data: dict[str, Any] = _profile_adapter().dump_python(
        profile, mode="json", exclude_defaults=True
    )
    return data


def _of(section: str, block: dict[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a section's defaults, which must be valid in run.yaml."""
    try:
        _section_adapter(section).validate_json(_encoded(block))
    except ValidationError as error:
        for fault in faults_of(error, (section,)):
            yield Fault(_printable(f"defaults.{fault.path}"), fault.message)


def _encoded(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode(errors="replace")


@cache
def _profile_adapter() -> TypeAdapter[SiteProfile]:
    return TypeAdapter(SiteProfile)


@cache
def _planned_adapter() -> TypeAdapter[PlannedSite]:
    return TypeAdapter(PlannedSite)


@cache
def _section_adapter(section: str) -> TypeAdapter[Any]:
    return TypeAdapter(sections()[section])


_INNER: Mapping[str, type] = {
    "partitions": PartitionLimits,
    "qos": QosLimits,
    "rules": SiteRules,
}


def _faults(error: ValidationError, root: type, prefix: str = "") -> Iterator[Fault]:
    for item in error.errors(include_url=False):
        location = [str(part) for part in item["loc"] if part != "[key]"]
        path = prefix + ".".join(location)
        message = item["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if item["type"] == "unexpected_keyword_argument":
            message = _advice(location[-1], _known(location[:-1], root))
        elif item["type"].startswith("missing"):
            message = "missing, and without a default"
        elif not isinstance(item["input"], (dict, list)):
            found = json.dumps(item["input"], default=str)
            message += f"; found {found if len(found) <= 80 else found[:77] + '...'}"
        yield Fault(_printable(path), message)


def _printable(path: str) -> str:
    """Escape a key, which may contain line breaks and terminal escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


def _known(place: list[str], root: type) -> list[str]:
    """Return the keys that are allowed at a place of a profile."""
    kind = _INNER.get(place[0], root) if place else root
    return [field.name for field in dataclasses.fields(kind)]


def _advice(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return (
        f"unknown key; did you mean {close[0]}?"
        if close
        else (f"unknown key; known keys are {', '.join(sorted(known))}")
    )
