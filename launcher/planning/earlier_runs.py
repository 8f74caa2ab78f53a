"""What earlier runs of the same kind have measured, for the plan of the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho_dist.config.lead import Measured
from ptycho_dist.config.plain_data import run_config_to_json
from ptycho_dist.config.run import RunConfig
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.listing import run_paths
from ptycho_dist.rundir.longest_times import measured_times

LOOKED_AT = 5
"""Runs of the same name, newest first: a plan must not read a whole history."""
_OF_A_STEP = (
    ("training", ("batch_size",)),
    ("execution", ("accum_steps", "precision", "accelerator")),
    ("resources", ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task")),
)


def measured_before(root: Path, config: RunConfig) -> Measured | None:
    """Times of the newest run of this name whose steps are of the same size; None: there is none.

    Args:
        root: where run directories are.
        config: of the run that is planned.
    """
    wanted = _size_of_step(run_config_to_json(config))
    paths = [
        path
        for path in run_paths(root)
        if path.name.startswith(f"{config.name}-") and (path / "run.json").is_file()
    ]
    for path in reversed(paths[-LOOKED_AT:]):
        run = RunDirectory(path)
        try:
            record = read_json(run.run_json)
            if _size_of_step(record["config"]) == wanted and (found := measured_times(run)):
                return found
        except (UserError, KeyError, TypeError, OSError):
            continue
    return None


def _size_of_step(config: dict[str, Any]) -> Any:
    fields = [config[section][name] for section, names in _OF_A_STEP for name in names]
    return config["model"], fields
