"""Times that earlier runs of the same kind have measured, for the plan of the next run."""

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
"""Number of newest runs of the same name that are read, so that planning stays fast."""
_OF_A_STEP = (
    ("training", ("batch_size",)),
    ("execution", ("accum_steps", "precision", "accelerator")),
    ("resources", ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task")),
)


def measured_before(root: Path, config: RunConfig) -> Measured | None:
    """Return the times of the newest run of the same name with steps of the same size.

    Args:
        root: directory of the run directories.
        config: config of the run that is planned.

    Returns:
        The longest step and checkpoint; None: no such run has measured any.
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
