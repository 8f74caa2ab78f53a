"""Reads run.yaml and the overrides of a command into a checked RunConfig.

Precedence, highest first: `--set`, run.yaml, site profile, front-end default (`accelerator: auto`),
dataclass default (specs/run_config.md, RC-020).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.config.faults import ConfigError, Fault, sections
from ptycho_dist.config.overrides import parse_override, set_value
from ptycho_dist.config.plain_data import decode_run_config, leaf_paths, run_config_to_json
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.site_defaults import SiteDefaults, complete_from_site
from ptycho_dist.config.yaml_text import MAX_BYTES, parse_yaml
from ptycho_dist.errors import UserError

FRONT_END_DEFAULTS = {
    "execution.accelerator": "auto",
    "execution.devices": "auto",
    "execution.num_nodes": "auto",
}
"""Field path → default in run.yaml and on the command line, where it differs from Python's."""
_NEEDED = {
    field.name
    for field in dataclasses.fields(RunConfig)
    if field.default is field.default_factory is dataclasses.MISSING
}
"""Sections and fields that have no default."""
_PATH_FIELDS = (
    ("data", "train_data_file"),
    ("data", "test_data_file"),
    ("environment", "venv"),
)


@dataclass(frozen=True)
class LoadedConfig:
    """A checked config with the text that it came from and the origin of each value."""

    config: RunConfig
    text: str
    """The text of run.yaml."""
    source: str
    """Where the config comes from, for messages."""
    origins: Mapping[str, str]
    """Dotted field path → `--set`, `--array`, `scale`, `run.yaml`, `site NAME`, `front end` or
    `default`."""


@dataclass(frozen=True)
class ReadConfig:
    """A config that may be faulty, as far as it could be read."""

    source: str
    """Where the config comes from, for messages."""
    loaded: LoadedConfig | None
    """None: a field is faulty. Paths are resolved only if there are no faults at all."""
    data_files: Mapping[str, Path]
    """Field of `data` → the file that it names, for files that exist."""
    faults: tuple[Fault, ...]
    """Everything that is wrong with the config."""

    @classmethod
    def of(cls, loaded: LoadedConfig) -> ReadConfig:
        """Wrap a config that was checked before, to plan it again."""
        return cls(loaded.source, loaded, loaded.config.data.files(), ())

    def sound(self) -> LoadedConfig:
        """Return the config, or raise a ConfigError with every fault."""
        if self.loaded is None or self.faults:
            raise ConfigError(self.source, self.faults)
        return self.loaded


def read_run_config(
    path: Path, overrides: Sequence[str] = (), site_defaults: SiteDefaults | None = None
) -> ReadConfig:
    """Read, merge and check a run config; the data files that it names must exist.

    Args:
        path: the YAML file.
        overrides: `section.field=value` texts; the value is read as YAML.
        site_defaults: reads the profile that `site` names; None: a config with a site is refused.

    Returns:
        The config with its faults; `sound` raises them.

    Raises:
        UserError: the file cannot be read or is not YAML.
    """
    (read,) = read_run_configs(path, overrides, [{}], site_defaults)
    return read


def read_run_configs(
    path: Path,
    overrides: Sequence[str],
    members: Iterable[Mapping[str, Any]],
    site_defaults: SiteDefaults | None = None,
    option: str = "--array",
) -> Iterator[ReadConfig]:
    """Read the config of every member of an array; the file is read once.

    Args:
        path: the YAML file.
        overrides: `section.field=value` texts for all members.
        members: for each member, dotted field path → value; these take precedence.
        site_defaults: as in `read_run_config`; called for each member.
        option: origin of the members' values, for messages.

    Yields:
        The config of each member, as `read_run_config` returns it.

    Raises:
        UserError: the file cannot be read or is not YAML.
    """
    text = read_text(path)
    data = parse_yaml(text, str(path))
    if data is None:
        raise UserError(f"{path}: the file is empty; a run needs at least `name` and `data`")
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping of sections, found {_kind(data)}")
    origins = dict.fromkeys(leaf_paths(data), "run.yaml")
    for override in overrides:
        dotted, value = parse_override(override)
        set_value(data, origins, dotted, value, "--set")
    for values in members:
        own, own_origins = copy.deepcopy(data), dict(origins)
        for dotted, value in values.items():
            set_value(own, own_origins, dotted, value, option)
        yield _read_run_data(own, str(path), text, own_origins, site_defaults)


def load_run_data(
    data: dict[str, Any], source: str, text: str, origins: dict[str, str]
) -> LoadedConfig:
    """Complete plain data with the front end's defaults and check it.

    Args:
        data: sections of fields; changed in place.
        source: where it comes from, for messages.
        text: the text that the run directory keeps as run.yaml.
        origins: field path → origin of each given value.

    Raises:
        ConfigError: with every fault of the config.
    """
    return _read_run_data(data, source, text, origins).sound()


def _read_run_data(
    data: dict[str, Any],
    source: str,
    text: str,
    origins: dict[str, str],
    site_defaults: SiteDefaults | None = None,
) -> ReadConfig:
    for section in sections():
        if section not in _NEEDED:
            # Absent sections become empty ones, so that pydantic checks the whole in one go.
            data.setdefault(section)
        if section in data and data[section] is None:  # a heading with nothing below it
            data[section] = {}
    from_site, site_faults = complete_from_site(data, site_defaults)
    for path, value in from_site.items():
        origins |= dict.fromkeys(leaf_paths(value, path), f"site {data['site']}")
    for dotted, value in FRONT_END_DEFAULTS.items():
        section, field = dotted.split(".")
        block = data.setdefault(section, {})
        if isinstance(block, dict) and field not in block:
            block[field] = value
            origins[dotted] = "front end"
    files, file_faults = _look_at_files(data)
    faults = [*site_faults, *file_faults]
    try:
        config = decode_run_config(data, source)
    except ConfigError as error:
        named = {fault.path for fault in error.faults}
        faults = [*error.faults, *(fault for fault in faults if fault.path not in named)]
        return ReadConfig(source, None, files, tuple(faults))
    if not faults:
        config = resolve_paths(config)
    for dotted in leaf_paths(run_config_to_json(config)):
        origins.setdefault(dotted, "default")
    loaded = LoadedConfig(config=config, text=text, source=source, origins=origins)
    return ReadConfig(source, loaded, files, tuple(faults))


def front_end_execution() -> dict[str, Any]:
    """Field of the execution config → its front-end default."""
    section = "execution."
    return {
        path.removeprefix(section): value
        for path, value in FRONT_END_DEFAULTS.items()
        if path.startswith(section)
    }


def resolve_paths(config: RunConfig) -> RunConfig:
    """Return the config with every path made absolute, relative to the working directory."""
    for section_name, field in _PATH_FIELDS:
        section = getattr(config, section_name)
        path = getattr(section, field)
        if path is not None:
            absolute = _absolute(path)
            section = dataclasses.replace(section, **{field: absolute})
            config = dataclasses.replace(config, **{section_name: section})
    return config


def read_text(path: Path) -> str:
    """Read the text of a config or profile, up to the size limit.

    Raises:
        UserError: there is no such file, it cannot be read, or it is not UTF-8.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a directory, not a config file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (looked at {Path.cwd() / path})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None


def _absolute(path: Path) -> Path:
    """Make a path absolute; raises RuntimeError for the home directory of an unknown user."""
    return Path.cwd() / path.expanduser()


def _look_at_files(data: dict[str, Any]) -> tuple[dict[str, Path], list[Fault]]:
    """Look for the files that plain data names, whatever else is wrong with the data.

    Returns:
        Field of `data` → path of each file that exists; and the faults of the others and of `venv`.
    """
    files: dict[str, Path] = {}
    faults: list[Fault] = []
    for section_name, field in _PATH_FIELDS:
        section = data.get(section_name)
        given = section.get(field) if isinstance(section, dict) else None
        if not isinstance(given, str):
            continue
        try:
            path = _absolute(Path(given))
            if field == "venv":
                found, what = (path / "bin" / "python").exists(), "contains no bin/python"
            else:
                found, what = path.is_file(), "a directory" if path.is_dir() else "no such file"
        except RuntimeError as error:
            faults.append(Fault(f"{section_name}.{field}", f"{given}: {error}"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"cannot be accessed: {reason}: {given[:80]}"
            faults.append(Fault(f"{section_name}.{field}", message))
        else:
            if not found:
                faults.append(Fault(f"{section_name}.{field}", f"{what}: {path}"))
            elif section_name == "data":
                files[field] = path
    return files, faults


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", bool: "a truth value"}.get(type(value), "a number")
