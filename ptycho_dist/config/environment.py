"""The software environment of the ranks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT

_RESERVED = re.compile(
    r"(SLURM|SBATCH|SUBMITIT|PTYCHO_DIST)_.*|MASTER_(ADDR|PORT)|RANK|WORLD_SIZE|LOCAL_RANK"
    r"|LOCAL_WORLD_SIZE|GROUP_RANK|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS"
)


def _free_name(name: str) -> str:
    if _RESERVED.fullmatch(name):
        raise ValueError("the launcher sets this variable itself; remove it")
    return name


def _one_line(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("control characters and line breaks are not allowed")
    return value


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./+@:-]*$", max_length=256)]
VariableName = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256), AfterValidator(_free_name)
]
OneLine = Annotated[str, AfterValidator(_one_line)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EnvironmentConfig:
    """The `environment:` block of run.yaml. Only `setup` is shell; all else is data."""

    modules: Annotated[
        tuple[ModuleName, ...], Field(description="Modules loaded before the ranks start.")
    ] = ()
    venv: Annotated[
        Path | None,
        Field(description="Virtual environment of the ranks; none: the launcher's own Python."),
    ] = None
    env: Annotated[
        dict[VariableName, OneLine], Field(description="Variables of the ranks, taken literally.")
    ] = Field(default_factory=dict)
    setup: Annotated[
        tuple[OneLine, ...], Field(description="Shell lines run before the ranks start.")
    ] = ()
    snapshot: Annotated[
        bool,
        Field(
            description="Copy this code into the run directory and run the copy: what is edited "
            "or installed afterwards does not reach the run."
        ),
    ] = False
