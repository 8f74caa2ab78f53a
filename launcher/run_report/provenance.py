"""Where a run comes from: its config and what was changed of it, code, software, machines."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.run_report.events import Events
from launcher.run_report.left_out import LeftOut
from launcher.text.plain_text import plain
from launcher.text.redact import REMOVED, names_a_secret
from ptycho_dist.config.load import config_values
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import count, moment, read_object
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan

_IN_RUN_YAML = ("run.yaml", "default", "front end", "ptycho-train default", "data file")
"""Origins of values that come again by themselves; as do those of `site NAME`."""
_LONGEST = 500
MOST = 100
"""Of changes, states of the code, versions: what a page can show."""


@dataclass(frozen=True)
class Change:
    """One value that a `resume` has changed."""

    at: float | None
    field: str
    words: str
    """`before → after`"""


@dataclass(frozen=True)
class CodeState:
    """The code that a submission was made with."""

    at: float | None
    sha256: str
    """Over the files of the packages."""
    commits: tuple[str, ...]
    """Of the checkouts; with a word where one had changes."""
    version: str
    diff: str
    """File of the run directory with what was not committed; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """As far as it is recorded."""

    config_sha256: str
    created_at: float | None
    data: Mapping[str, str]
    """Field of `data` → the file, and the beginning of its fingerprint."""
    changes: tuple[Change, ...]
    code: tuple[CodeState, ...]
    software: Mapping[str, str]
    """Package → version, as rank 0 of the latest attempt had it, and variables for NCCL, gloo and
    SLURM."""
    devices: tuple[str, ...]
    """What the ranks ran on, in words, where it changed once more."""
    resized: bool
    """Whether the number of ranks or threads was allowed to change."""
    repeat: tuple[str, ...]
    """Commands."""


def read_provenance(
    run: RunDirectory, events: Events, cluster: str, left_out: LeftOut
) -> Provenance:
    """Read what run.json, plan.json, code.json and the ledger tell of it.

    Args:
        run: its directory.
        events: of its ledger.
        cluster: that it ran on last; empty: on none yet.
        left_out: takes what cannot be read.
    """
    record = left_out.reading("run.json", lambda: _object(run, "run.json"), {})
    plan = left_out.reading("plan.json", run.plan, None)
    code = left_out.reading("code.json", lambda: _object(run, "code.json"), {})
    states = _code(code)
    digest = record.get("config_sha256")
    return Provenance(
        config_sha256=plain(digest) if isinstance(digest, str) else "",
        created_at=moment(record, "created_at"),
        data=_data(record, plan),
        changes=_changes(record),
        code=states,
        software=_software(events),
        devices=_devices(events),
        resized=plan is not None and plan.resized,
        repeat=left_out.reading(
            "the command that repeats it",
            lambda: repeat_commands(run, record, plan, states, cluster),
            (),
        ),
    )


def _object(run: RunDirectory, name: str) -> Mapping[str, Any]:
    try:
        return read_object(f"{run.path}/{name}")
    except FileNotFoundError:
        if name == "code.json":  # an older run, or one of ptycho-train
            return {}
        raise UserError("no such file") from None


def _data(record: Mapping[str, Any], plan: RunPlan | None) -> dict[str, str]:
    config, prints = record.get("config"), {} if plan is None else plan.data
    files = config.get("data") if isinstance(config, dict) else None
    found: dict[str, str] = {}
    for field in ("train_data_file", "test_data_file"):
        file = files.get(field) if isinstance(files, dict) else None
        if isinstance(file, str):
            seal = f", fingerprint {plain(prints[field])[:16]}" if field in prints else ""
            found[field] = f"{plain(file)}{seal}"
    return found


def _changes(record: Mapping[str, Any]) -> tuple[Change, ...]:
    found = []
    for revision in _objects(record.get("revisions")):
        changes = revision.get("changes")
        for field, words in changes.items() if isinstance(changes, dict) else ():
            said = REMOVED if names_a_secret(str(field)) else plain(str(words))
            found.append(Change(moment(revision, "at"), plain(str(field)), said[:_LONGEST]))
    return tuple(found[-MOST:])


def _code(code: Mapping[str, Any]) -> tuple[CodeState, ...]:
    found = []
    for state in _objects(code.get("states")):
        installed, checkouts = state.get("installed"), state.get("checkouts")
        commits = []
        for path, said in checkouts.items() if isinstance(checkouts, dict) else ():
            commit = said.get("commit") if isinstance(said, dict) else None
            if isinstance(commit, str):
                dirty = ", with changes" if said.get("dirty") is True else ""
                commits.append(f"{plain(commit)} of {plain(str(path))}{dirty}")
        found.append(
            CodeState(
                at=moment(state, "at"),
                sha256=_text(state.get("sha256")),
                commits=tuple(commits),
                version=_text(installed.get("version")) if isinstance(installed, dict) else "",
                diff=_text(state.get("diff")),
            )
        )
    return tuple(found[-MOST:])


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return plain(value)[:200] if isinstance(value, str) else ""


def _software(events: Events) -> dict[str, str]:
    said = events.of("joined")
    found: dict[str, str] = {}
    for kind in ("versions", "variables"):
        record = said[-1].get(kind) if said else None
        entries = list(record.items())[:MOST] if isinstance(record, dict) else []
        found |= {plain(str(n))[:80]: _text(value) for n, value in entries if value}
    return found


def _devices(events: Events) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for event in events.of("joined"):
        began = events.first("training_started", int(event["attempt"]))
        ranks = count(began, "ranks") if began is not None else None
        device, kind = _text(event.get("device_name")), _text(event.get("device"))
        threads, backend = count(event, "threads"), _text(event.get("backend"))
        words = [f"{ranks} rank{'s' if ranks != 1 else ''}" if ranks else "ranks"]
        words.append(f"on {kind}" + (f" ({device})" if device not in ("", kind) else ""))
        words += [_text(event.get("strategy")), f"over {backend}" if backend else ""]
        words.append(f"{threads} thread{'s' if threads != 1 else ''} each" if threads else "")
        found.setdefault(", ".join(word for word in words if word))
    return tuple(found)[-MOST:]


def repeat_commands(
    run: RunDirectory,
    record: Mapping[str, Any],
    plan: RunPlan | None,
    code: Sequence[CodeState],
    cluster: str,
) -> tuple[str, ...]:
    """The commands that make the run again, from the directory of the run.

    Raises:
        UserError: run.json does not hold a config that is as it was written.
    """
    values = config_values(run.config())
    origins = record.get("origins")
    origin_of = origins if isinstance(origins, dict) else {}
    by_hand = not run.script.exists()
    given = "" if by_hand else run.path.joinpath("run.yaml").read_text("utf-8", "replace")
    sets = []
    for path, value in values.items():
        origin = origin_of.get(path, "default")
        again = origin in _IN_RUN_YAML or str(origin).startswith("site ")
        if path.endswith("_data_file") and value != "null":
            again = json.loads(value) in given  # a relative path means another place there
        if not again and not (by_hand and path.startswith("resources.")):
            shown = REMOVED if names_a_secret(path) else _bare(value)
            sets.append(f"--set {shlex.quote(f'{path}={shown}')}")
    commands = []
    if code and code[-1].commits:
        commit, _, place = code[-1].commits[0].removesuffix(", with changes").partition(" of ")
        commands.append(f"git -C {shlex.quote(place)} checkout {shlex.quote(commit)}")
        if code[-1].diff:
            diff = shlex.quote(str(run.path / code[-1].diff))
            commands.append(f"git -C {shlex.quote(place)} apply {diff}")
    if by_hand:
        file = shlex.quote(json.loads(values["data.train_data_file"]))
        sets = [each for each in sets if "data.train_data_file=" not in each]
        tasks = 1 if plan is None else plan.world.tasks_per_node
        start = f"ptycho-train --train_data_file {file} --output_dir NEW --devices {tasks}"
    else:
        start = f"ptycho-launch submit {shlex.quote(str(run.path / 'run.yaml'))}"
        if cluster in ("slurm", "local"):
            start += f" --cluster {cluster}"
    return (*commands, " ".join([start, *sets]))


def _bare(value: str) -> str:
    """JSON, as YAML takes it; a plain text without its quotes."""
    text = json.loads(value)
    plain_word = isinstance(text, str) and text.replace("_", "").replace("-", "").isalpha()
    return text if plain_word or (isinstance(text, str) and text.startswith("/")) else value
