"""Where one cluster keeps its files, and the record of what was started for it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

MARKER = ".ptycho-dist-cluster"
MADE_BY_UP = "the directory was made by `up`\n"
STATE_VERSION = 1

# The path of a unix socket has at most 107 bytes. The longest below the runtime folder is
# slurmstepd's: /spool/node40/node40_4294967295.4294967295.4294967295
LONGEST_RUNTIME_DIR = 107 - 55

# slurm.conf has no quoting that works for every path, so other characters are refused at once.
PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+@~-]+")


class UsageError(Exception):
    """The user asked for something impossible: one line, exit code 2."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a cluster looks like; two clusters with equal options are interchangeable."""

    nodes: int = 4
    cpus_per_node: int = 4
    gpus_per_node: int = 2
    memory_per_node_mb: int = 8000
    accounting: bool = True

    def difference(self, other: dict[str, Any]) -> list[str]:
        """Each option that differs from `other`, with both values."""
        return [
            f"{name} {other.get(name)!r} -> {value!r}"
            for name, value in dataclasses.asdict(self).items()
            if other.get(name) != value
        ]


class Layout:
    """The files of the cluster in one directory."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory.expanduser().resolve()
        if not PLAIN_PATH.fullmatch(str(self.dir)):
            raise UsageError(
                f"SLURM's configuration cannot hold the path {str(self.dir)!r}: "
                "choose another with --dir (letters, digits and . _ / + @ ~ - only)"
            )
        self.digest = hashlib.sha256(os.fsencode(self.dir)).hexdigest()[:12]
        # Its name depends only on the directory, so that `down` finds it even if the
        # directory itself is gone.
        self.short_dir = Path("/tmp", f"ptycho-dist-cluster-{os.getuid()}-{self.digest}")  # noqa: S108
        fits = len(os.fsencode(self.dir)) <= LONGEST_RUNTIME_DIR
        self.runtime_dir = self.dir if fits else self.short_dir
        self.marker = self.dir / MARKER
        self.state_file = self.dir / "state.json"
        self.env_file = self.dir / "env.sh"
        self.slurm_conf = self.dir / "slurm.conf"
        self.slurmdbd_conf = self.dir / "slurmdbd.conf"
        self.gres_conf = self.dir / "gres.conf"
        self.munge_key = self.dir / "munge.key"
        self.database = self.dir / "database"
        self.devices = self.dir / "devices"
        self.controller_state = self.dir / "controller"
        self.log = self.dir / "log"
        self.run = self.runtime_dir / "run"
        self.spool = self.runtime_dir / "spool"
        self.munge_socket = self.run / "munge.sock"
        self.database_socket = self.run / "mariadb.sock"

    @property
    def exports(self) -> dict[str, str]:
        """The environment variables by which SLURM's commands find this cluster."""
        return {"SLURM_CONF": str(self.slurm_conf)}

    def exists(self) -> bool:
        """Whether the directory has the marker of a cluster."""
        return self.marker.is_file()

    def create(self, node_names: list[str]) -> None:
        """Make the directory and its folders; the marker first, so that `down` may remove it."""
        made = not self.dir.is_dir()
        if made:
            if not self.dir.parent.is_dir():
                raise UsageError(f"{self.dir.parent} is not a directory")
            self.dir.mkdir(mode=0o700)
        elif any(self.dir.iterdir()):
            raise UsageError(
                f"{self.dir} is not empty and is not a cluster: choose another with --dir"
            )
        self.marker.touch(mode=0o600)
        self.marker.write_text(MADE_BY_UP if made else "")
        if self.runtime_dir != self.dir:
            # mkdir fails if somebody else has put anything there first.
            self.runtime_dir.mkdir(mode=0o700)
        for folder in (self.log, self.run, self.spool, self.controller_state, self.devices):
            folder.mkdir(mode=0o700)
        for name in node_names:
            (self.spool / name).mkdir(mode=0o700)

    def read_state(self) -> dict[str, Any]:
        """The recorded state; empty if there is none or it is damaged."""
        try:
            state = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) and state.get("version") == STATE_VERSION else {}

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace the recorded state in one step."""
        temporary = self.state_file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"version": STATE_VERSION, **state}, indent=2) + "\n")
        temporary.replace(self.state_file)

    def remove(self) -> list[str]:
        """Remove the files of the cluster; return the names of the files that are not ours.

        The marker goes last, so that an interrupted removal can be repeated.
        """
        self._remove_short_dir()
        made = False
        if self.exists():
            made = self.marker.read_text() == MADE_BY_UP
            ours = (
                self.run, self.spool, self.log, self.database, self.devices,
                self.controller_state, self.slurm_conf, self.slurmdbd_conf, self.gres_conf,
                self.munge_key, self.env_file, self.state_file.with_suffix(".tmp"),
                self.state_file, self.marker,
            )  # fmt: skip
            for path in ours:
                if path.is_symlink() or path.is_file():
                    path.unlink()
                elif path.is_dir():
                    shutil.rmtree(path)
        try:
            left = sorted(path.name for path in self.dir.iterdir())
        except OSError:
            return []
        if made and not left:
            self.dir.rmdir()
        return left

    def _remove_short_dir(self) -> None:
        try:
            found = self.short_dir.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            shutil.rmtree(self.short_dir)
