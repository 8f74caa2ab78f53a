"""Finds and reads site profiles.

They lie in the package (slurm/sites of the repository) and in the user's own directory, whose
profiles take precedence (specs/run_config.md, RC-100).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from launcher.sites.profile import SiteProfile, decode_profile
from ptycho_dist.config.load import read_text
from ptycho_dist.config.yaml_text import parse_yaml
from ptycho_dist.errors import UserError

BUILT_IN, OWN = "built in", "yours"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SUFFIX = ".yaml"


@dataclass(frozen=True)
class Site:
    """A profile with its name and origin."""

    name: str
    """Name of the site: the file name without its ending."""
    origin: str
    """`built in` or `yours`."""
    path: Path
    """Its file."""
    profile: SiteProfile
    """Its content."""


def own_directory() -> Path:
    """Return the directory of the user's own profiles: $XDG_CONFIG_HOME/ptycho-dist/sites."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "ptycho-dist" / "sites"


def site_paths() -> dict[str, tuple[str, Path]]:
    """Name → origin and file of each profile, sorted by name; no profile is read."""
    found: dict[str, tuple[str, Path]] = {}
    for origin, directory in ((BUILT_IN, _built_in_directory()), (OWN, own_directory())):
        try:
            files = sorted(directory.iterdir())
        except OSError:  # most users have no profiles of their own
            continue
        for path in files:
            if path.suffix == _SUFFIX and _NAME.fullmatch(path.stem) and path.is_file():
                found[path.stem] = (origin, path)
    return dict(sorted(found.items()))


def read_site(name: str) -> Site:
    """Read and check one profile.

    Raises:
        UserError: there is no such profile, or its file cannot be read.
        ConfigError: the profile is faulty; names every fault with its key.
    """
    known = site_paths()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        advice = f"did you mean {close[0]}?" if close else "`ptycho-launch sites` lists them"
        raise UserError(f"no site profile is named {name[:64]!r}; {advice}")
    origin, path = known[name]
    return Site(
        name, origin, path, decode_profile(parse_yaml(read_text(path), str(path)), str(path))
    )


def all_sites(broken: list[UserError]) -> Iterator[Site]:
    """Yield every profile that can be read; errors of the others are appended to `broken`."""
    for name in site_paths():
        try:
            yield read_site(name)
        except UserError as error:
            broken.append(error)


def detect_site(variables: Mapping[str, str]) -> tuple[str, str] | None:
    """Recognise the site of this login node by an environment variable.

    Args:
        variables: the environment.

    Returns:
        Name of the site and `VARIABLE=value`; None: no profile matches, or several do.
    """
    found = [
        (site.name, f"{variable}={value}")
        for site in all_sites([])
        for variable, value in site.profile.detect.items()
        if variables.get(variable) == value
    ]
    return found[0] if len({name for name, _ in found}) == 1 else None


def _built_in_directory() -> Path:
    return Path(str(resources.files("launcher") / "site_profiles"))
