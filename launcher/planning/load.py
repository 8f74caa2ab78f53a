"""From a config to its plan: the one chain behind every command that plans a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.planning.data_facts import read_data_facts
from launcher.planning.earlier_runs import measured_before
from launcher.planning.plan import LaunchPlan, make_plan
from launcher.sites.reader import SiteReader
from ptycho_dist.config.contradictions import DataFacts
from ptycho_dist.config.faults import ConfigError, Fault
from ptycho_dist.config.lead import Measured
from ptycho_dist.config.load import LoadedConfig, ReadConfig, read_run_config
from ptycho_dist.errors import DataError

if TYPE_CHECKING:
    from launcher.sites.profile import PlannedSite

FactsReader = Callable[[Path], DataFacts | DataError]


def load_and_plan(
    options: argparse.Namespace, overrides: Sequence[str] = ()
) -> tuple[LoadedConfig, LaunchPlan]:
    """Plan the run of a command's CONFIG argument.

    Args:
        options: the parsed command line: `config`, `overrides` and, where the command has it,
            `runs_dir`, whose earlier runs give measured times.
        overrides: `section.field=value` texts that the command itself adds.

    Raises:
        ConfigError: with every fault of the config and its files.
    """
    sites = SiteReader()
    read = read_run_config(options.config, [*options.overrides, *overrides], sites)
    runs_root = getattr(options, "runs_dir", None)
    measured = None
    if runs_root is not None and read.loaded is not None:
        measured = measured_before(runs_root, read.loaded.config)
    return plan_config(read, sites.site, measured)


def facts_or_error(path: Path) -> DataFacts | DataError:
    """Facts of a data file, or the error; returned rather than raised, so that a cache keeps it."""
    try:
        return read_data_facts(path)
    except DataError as error:
        return error


def facts_of(
    files: Mapping[str, Path], read_facts: FactsReader = facts_or_error
) -> tuple[dict[str, DataFacts], list[Fault]]:
    """Facts of the data files that can be read, and a fault for each that cannot.

    Args:
        files: field of `data` → its file.
        read_facts: reads one file; by default nothing is cached between calls.
    """
    facts: dict[str, DataFacts] = {}
    faults: list[Fault] = []
    for field, path in files.items():
        found = read_facts(path)
        if isinstance(found, DataError):
            faults.append(Fault(f"data.{field}", str(found)))
        else:
            facts[field] = found
    return facts, faults


def plan_config(
    read: ReadConfig,
    site: PlannedSite | None,
    measured: Measured | None = None,
    read_facts: FactsReader = facts_or_error,
) -> tuple[LoadedConfig, LaunchPlan]:
    """Plan one config.

    Args:
        read: the config as far as it could be read, with its faults.
        site: limits and rules of its site.
        measured: times of this run, or of an earlier run like it.
        read_facts: as in `facts_of`.

    Raises:
        ConfigError: with every fault of the config and its files.
    """
    facts, data_faults = facts_of(read.data_files, read_facts)
    faults = [*read.faults, *data_faults]
    if read.loaded is None:
        raise ConfigError(read.source, faults)
    train, test = facts.get("train_data_file"), facts.get("test_data_file")
    return read.loaded, make_plan(read.loaded, train, test, faults, measured, site)
