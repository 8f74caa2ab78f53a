"""What may change when a run is resumed, and the config that results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ptycho_dist.config.faults import ConfigError, Fault
from ptycho_dist.config.load import LoadedConfig, resolve_paths
from ptycho_dist.config.overrides import parse_override, set_value
from ptycho_dist.config.plain_data import (
    config_digest,
    config_values,
    decode_run_config,
    run_config_to_json,
)
from ptycho_dist.config.run import RunConfig
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory

MAY_CHANGE = (
    "site",
    "data.train_data_file",  # the same contents in another place
    "data.test_data_file",
    "data.stage_to",
    "execution.num_workers",
    "execution.pin_memory",
    "execution.persistent_workers",
    "execution.prefetch_factor",
    "execution.enable_progress_bar",
    "execution.enable_checkpointing",
    "execution.checkpoint_every_n_steps",
    "execution.checkpoint_every_s",
    "execution.checkpoint_keep_last",
    "execution.checkpoint_keep_every_n_epochs",
    "execution.checkpoint_save_top_k",
    "execution.logger_backend",
    "execution.inference_batch_size",
    "execution.join_timeout_s",
    "execution.collective_timeout_s",
    "resources.mem_per_node",
    "resources.time",
    "resources.partition",
    "resources.account",
    "resources.qos",
    "resources.constraint",
    "resources.gpu_type",
    "resources.exclusive",
    "resources.reservation",
    "resources.mail_type",
    "resources.mail_user",
    "resources.sbatch_options",
    "resources.sbatch_options.",
    "requeue.",
    "environment.",
    "reconstruct",
)
"""Fields that do not affect the weights; an entry with a dot at its end is a whole section."""
MAY_CHANGE_WITH_WORLD = (
    "resources.nodes",
    "resources.tasks_per_node",
    "resources.gpus_per_node",
    "resources.cpus_per_task",
    "execution.devices",
    "execution.num_nodes",
)
"""Fields that `--allow-resize` adds: each sample is still used once, but the bits differ."""


@dataclass(frozen=True)
class Changes:
    """What the user wants to change on resume."""

    overrides: Sequence[str] = ()
    """`section.field=value` texts, as `--set` takes them."""
    allow_resize: bool = False
    """Whether the number of ranks and threads may change."""
    moved: bool = False
    """Whether the run directory was moved here from another place or site."""

    def set_site(self) -> bool:
        """Whether a site is among the overrides."""
        return any(parse_override(text)[0] == "site" for text in self.overrides)


def changed_config(
    run: RunDirectory, config: RunConfig, changes: Changes
) -> tuple[LoadedConfig, dict[str, str]]:
    """Apply the overrides of a resume to the config of a run.

    Returns:
        The new config, and each changed field with its old and new value in words.

    Raises:
        UserError: an override is not of the form `section.field=value`.
        ConfigError: the new config is faulty, or a field changed that must not change.
    """
    record = read_json(run.run_json)
    data, origins = run_config_to_json(config), dict(record.get("origins", {}))
    for text in changes.overrides:
        path, value = parse_override(text)
        set_value(data, origins, path, value, "resume --set")
    new = decode_run_config(data, f"{run.run_id} with --set")
    if changes.overrides:
        new = resolve_paths(new)
    before, after = config_values(config), config_values(new)
    changed = {
        path: f"{before.get(path)} → {after.get(path)}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }
    faults = [
        Fault(path, f"{words}: {_why_not(path)}")
        for path, words in changed.items()
        if not _may_change(path, changes.allow_resize)
    ]
    if faults:
        raise ConfigError(run.run_id, faults)
    loaded = LoadedConfig(config=new, text="", source=str(run.run_json), origins=origins)
    return loaded, changed


def record_changes(run: RunDirectory, loaded: LoadedConfig, changed: dict[str, str]) -> None:
    """Write the changed config into run.json, with a revision: what changed, and when."""
    if not changed:
        return
    record = read_json(run.run_json)
    revisions = [*record.get("revisions", []), {"at": time.time(), "changes": changed}]
    record |= {
        "config": run_config_to_json(loaded.config),
        "config_sha256": config_digest(loaded.config),
        "origins": dict(loaded.origins),
        "revisions": revisions,
    }
    write_json_atomic(run.run_json, record)


def _may_change(path: str, allow_resize: bool) -> bool:
    allowed = (*MAY_CHANGE, *MAY_CHANGE_WITH_WORLD) if allow_resize else MAY_CHANGE
    return any(path == name or (name[-1] == "." and path.startswith(name)) for name in allowed)


def _why_not(path: str) -> str:
    if path in MAY_CHANGE_WITH_WORLD:
        return (
            "a different number of ranks or threads gives a different result; allow it with "
            "--allow-resize (each sample is still used once)"
        )
    return "this would be a different training; submit a new run"
