"""The software environment of the ranks."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT, AnyPath, OneLine

_RESERVED = re.compile(
    r"(SLURM|SBATCH|SUBMITIT|PTYCHO_DIST)_.*|MASTER_(ADDR|PORT)|RANK|WORLD_SIZE|LOCAL_RANK"
    r"|LOCAL_WORLD_SIZE|GROUP_RANK|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS"
)


def _free_name(name: str) -> str:
    if _RESERVED.fullmatch(name):
        raise ValueError("the launcher sets this variable itself; remove it")
    return name


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./+@:-]*$", max_length=256)]
VariableName = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256), AfterValidator(_free_name)
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EnvironmentConfig:
    """The `environment:` block of run.yaml. Only `setup` is shell; all else is data."""

    modules: Annotated[
        tuple[ModuleName, ...], Field(description="Modules loaded before the ranks start.")
    ] = ()
    venv: Annotated[
        AnyPath | None,
        Field(description="Virtual environment of the ranks; none: the launcher's own Python."),
    ] = None
    env: Annotated[
        dict[VariableName, OneLine], Field(description="Variables of the ranks, taken literally.")
    ] = Field(default_factory=dict)
    setup: Annotated[
        tuple[OneLine, ...], Field(description="Shell lines run before the ranks start.")
    ] = ()
