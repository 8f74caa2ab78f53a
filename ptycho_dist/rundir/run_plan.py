"""The plan of a run: what it runs with and on how many ranks, fixed before it starts (plan.json).

Read on login nodes, by the batch script and by each rank, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ptycho_dist.config.lead import Measured
from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import first_fault
from ptycho_dist.rundir.files import not_a_run, read_bytes
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

_CONFIG = ConfigDict(defer_build=True)
Seconds = Annotated[int, Field(ge=0)]
_ForReports = Annotated[
    Mapping[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})
]
"""An object that only reports read: damage to it must not make the plan unreadable."""
_ABSENT_BY_DEFAULT = ("data", "code", "measurement", "drill", "resized")
"""Entries that plan.json omits while they are empty."""


@dataclass(frozen=True, config=_CONFIG)
class FrozenCode:
    """The copy of the code that the ranks run (RD-256)."""

    sha256: str
    """Digest over the names and contents of its files."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class RunPlan:
    """The content of plan.json; `RunDirectory.plan` reads it."""

    format: Literal[1] = 1
    """Version of the file's layout."""
    name: str = ""
    """The run's name in the config."""
    world: World
    """The world-size contract."""
    accelerator: str = ""
    """`execution.accelerator` of the config; each rank resolves `auto` for itself."""
    resources: _ForReports = Field(default_factory=dict)
    """The config's `resources`."""
    walltime_s: Seconds | None = None
    """Walltime of one attempt; None: no limit."""
    signal_lead_s: Seconds | None = None
    """How long before the walltime the ranks are asked to stop; None: they are not."""
    requeue: _ForReports = Field(default_factory=dict)
    """The config's `requeue`."""
    measured: Measured | None = None
    """Times from which the lead was worked out; None: nothing was measured."""
    python: str | None = None
    """Interpreter of the ranks; None: the plan does not name one."""
    modules: tuple[str, ...] = ()
    """Environment modules to load, in this order."""
    variables: Mapping[str, str] = Field(default_factory=dict)
    """Environment variables of the ranks."""
    setup: tuple[str, ...] = ()
    """Shell lines that run before the ranks."""
    snapshot: bool = False
    """Whether the config asks for frozen code."""
    origins: Mapping[str, str] = Field(default_factory=dict)
    """Field path → where the value of the config came from."""
    site: Mapping[str, Any] | None = None
    """Limits and rules of the site, as `PlannedSite.to_json` gives them (RC-103)."""
    data: Mapping[str, str] = Field(default_factory=dict)
    """Field of `data` → fingerprint of its file (RD-036)."""
    code: FrozenCode | None = None
    """The frozen code; None: the ranks run the installed code."""
    measurement: MeasurementPlan | None = None
    """What a run of a scaling study measures (SC-008); None: an ordinary run."""
    drill: Mapping[str, Any] | None = None
    """The interruptions of a drill; None: an ordinary run."""
    resized: bool = False
    """Whether a resume has changed the number of ranks or threads."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json; `read_plan` reads it back."""
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return {
            name: value for name, value in data.items() if value or name not in _ABSENT_BY_DEFAULT
        }


def read_plan(path: Path) -> RunPlan:
    """Read and check a plan.json; entries that are absent take their defaults.

    Raises:
        UserError: the file is missing, cannot be read, or is not a plan.
    """
    try:
        return _adapter().validate_json(read_bytes(path), strict=True)
    except FileNotFoundError:
        raise not_a_run(path) from None
    except ValidationError as error:
        raise UserError(f"{path}: not a plan: {first_fault(error)}; the file is damaged") from None


@cache
def _adapter() -> TypeAdapter[RunPlan]:
    return TypeAdapter(RunPlan)
