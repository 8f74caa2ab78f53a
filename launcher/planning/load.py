"""From the CONFIG of a command to its plan, with every fault of config and files at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from launcher.planning.data_facts import read_data_facts
from launcher.planning.earlier_runs import measured_before
from launcher.planning.plan import LaunchPlan, make_plan
from launcher.sites.reader import SiteReader
from ptycho_dist.config.load import ConfigError, Fault, LoadedConfig, read_run_config
from ptycho_dist.errors import DataError


def load_and_plan(
    options: argparse.Namespace, overrides: Sequence[str] = ()
) -> tuple[LoadedConfig, LaunchPlan]:
    """The config and its plan, or one error with every fault of the config and its files."""
    sites = SiteReader()
    read = read_run_config(options.config, [*options.overrides, *overrides], sites)
    facts, faults = {}, list(read.faults)
    for field, path in read.data_files.items():
        try:
            facts[field] = read_data_facts(path)
        except DataError as error:
            faults.append(Fault(f"data.{field}", str(error)))
    if read.loaded is None:
        raise ConfigError(read.source, faults)
    train, test = facts.get("train_data_file"), facts.get("test_data_file")
    runs_root = getattr(options, "runs_dir", None)
    measured = measured_before(runs_root, read.loaded.config) if runs_root else None
    return read.loaded, make_plan(read.loaded, train, test, faults, measured, sites.site)
