"""How the ranks are started if an image holds their software. Pure.

The launcher's own Python, outside the image, begins and ends the attempts: it needs scontrol, which
images lack. The process of the container becomes the rank (pyxis), or passes signals on to it
(apptainer, singularity).
"""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.config.faults import Fault
from ptycho_dist.config.run import RunConfig


def container_command(config: RunConfig, run_path: Path) -> list[str]:
    """The words before `-u -m ptycho_dist.rank` if apptainer or singularity starts the ranks.

    They are the runtime, its options, the image and the interpreter in it.
    """
    place = config.environment
    options = [word for mount in _mounts(config, run_path) for word in ("--bind", mount)]
    if config.resources.gpus_per_node and not {"--rocm", "--nv"} & set(place.container_options):
        options.append("--nv")
    options += place.container_options
    return [
        place.container_runtime,
        "exec",
        *options,
        str(place.container),
        place.container_python,
    ]


def pyxis_options(config: RunConfig, run_path: Path) -> list[str]:
    """The options of srun if its pyxis plugin starts the image (github.com/NVIDIA/pyxis)."""
    place = config.environment
    mounts = [m if ":" in m else f"{m}:{m}" for m in _mounts(config, run_path)]
    return [
        f"--container-image={place.container}",
        f"--container-mounts={','.join(mounts)}",
        *place.container_options,
    ]


def container_faults(config: RunConfig) -> list[Fault]:
    """Fields of `environment` that contradict each other, or the absence of an image."""
    place = config.environment
    if place.container is None:
        idle = [name for name in ("container_mounts", "container_options") if getattr(place, name)]
        return [
            Fault(f"environment.{name}", "set, but environment.container names no image")
            for name in idle
        ]
    faults = []
    if place.venv is not None:
        faults.append(
            Fault(
                "environment.venv",
                "a virtual environment of this machine, and the ranks run in an image; leave it "
                "out, and set container_python to the interpreter in the image",
            )
        )
    if bad := [path for path in _own_folders(config) if any(c in str(path) for c in ":,")]:
        faults.append(
            Fault("environment.container", f"{bad[0]} cannot be mounted: a colon or comma in it")
        )
    return faults


def _mounts(config: RunConfig, run_path: Path) -> list[str]:
    member = run_path.parent.name == "members"
    # What the members of an array share, such as the frozen code, lies in the array's directory.
    place = run_path.parent.parent if member else run_path
    folders = [str(place), *(str(path) for path in _own_folders(config))]
    return [*dict.fromkeys(folders), *config.environment.container_mounts]


def _own_folders(config: RunConfig) -> list[Path]:
    data = config.data
    return [path.parent for path in (data.train_data_file, data.test_data_file) if path is not None]
