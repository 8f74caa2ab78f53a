"""The `environment:` block: the software environment of the ranks."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT, AnyPath, OneLine

_RESERVED = re.compile(
    r"(SLURM|SBATCH|SUBMITIT|PTYCHO_DIST)_.*|MASTER_(ADDR|PORT)|RANK|WORLD_SIZE|LOCAL_RANK"
    r"|LOCAL_WORLD_SIZE|GROUP_RANK|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS"
)


def _free_name(name: str) -> str:
    if _RESERVED.fullmatch(name):
        raise ValueError("the launcher sets this variable itself; omit it")
    return name


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./+@:-]*$", max_length=256)]
VariableName = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256), AfterValidator(_free_name)
]
ContainerMount = Annotated[
    str, Field(pattern=r"^/[^:,\x00-\x1f\x7f]*(:/[^:,\x00-\x1f\x7f]*(:r[ow])?)?$", max_length=4096)
]
ContainerRuntime = Literal["apptainer", "singularity", "pyxis"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EnvironmentConfig:
    """The `environment:` block of run.yaml. Only `setup` is run by a shell."""

    modules: Annotated[
        tuple[ModuleName, ...],
        Field(description="Environment modules to load before the ranks start."),
    ] = ()
    venv: Annotated[
        AnyPath | None,
        Field(
            description="Virtual environment of the ranks. none: the Python that runs the launcher."
        ),
    ] = None
    env: Annotated[
        dict[VariableName, OneLine],
        Field(
            description="Environment variables of the ranks. Values are literal: nothing in "
            "them is expanded."
        ),
    ] = Field(default_factory=dict)
    setup: Annotated[
        tuple[OneLine, ...], Field(description="Shell lines to run before the ranks start.")
    ] = ()
    container: Annotated[
        OneLine | None,
        Field(
            min_length=1,
            pattern=r"^[^-\s][^\s]*$",
            description="Container image in which the ranks run: a file, or a reference that "
            "the runtime understands (docker://…). The run directory and the folders of the "
            "data files are mounted.",
        ),
    ] = None
    container_runtime: Annotated[
        ContainerRuntime,
        Field(
            description="What starts the container: apptainer, singularity, or pyxis (a "
            "plugin of srun)."
        ),
    ] = "apptainer"
    container_mounts: Annotated[
        tuple[ContainerMount, ...],
        Field(
            description="Further directories to mount: /host, /host:/inside or /host:/inside:ro."
        ),
    ] = ()
    container_options: Annotated[
        tuple[OneLine, ...],
        Field(
            description="Further options of the container runtime, such as --rocm; one word "
            "per entry."
        ),
    ] = ()
    container_python: Annotated[
        OneLine, Field(min_length=1, description="Python interpreter inside the image.")
    ] = "python3"
    snapshot: Annotated[
        bool,
        Field(
            description="Copy the code into the run directory and run that copy. Later edits "
            "and installations then do not affect the run."
        ),
    ] = False
