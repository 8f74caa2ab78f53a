"""The provenance of a run: config and its changes, code, software, machines, command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.provenance.code_states import CodeState, code_states
from launcher.provenance.joined import Joined, joined_of
from launcher.provenance.texts import MOST
from launcher.run_report.events import Event, Events
from launcher.run_report.left_out import LeftOut
from launcher.text.counted import counted
from launcher.text.plain_text import plain
from launcher.text.redact import REMOVED, names_a_secret
from ptycho_dist.config.plain_data import config_values
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import count, moment, read_object
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan

_IN_RUN_YAML = ("run.yaml", "default", "front end", "ptycho-train default", "data file")
"""Origins of values that the same run.yaml gives again; those of `site NAME` are such, too."""
_LONGEST = 500


@dataclass(frozen=True)
class Change:
    """One value that a `resume` changed."""

    at: float | None
    field: str
    words: str
    """`before → after`"""


@dataclass(frozen=True, kw_only=True)
class RunProvenance:
    """The recorded provenance of a run."""

    config_sha256: str
    created_at: float | None
    data: Mapping[str, str]
    """Field of `data` → the file and the beginning of its fingerprint."""
    changes: tuple[Change, ...]
    code: tuple[CodeState, ...]
    software: Mapping[str, str]
    """Packages with versions, and variables of NCCL, gloo and SLURM, of rank 0 in the latest
    attempt."""
    devices: tuple[str, ...]
    """What the ranks ran on, in words; more than one entry where it changed."""
    resized: bool
    """Whether the number of ranks or threads was allowed to change."""
    repeat: tuple[str, ...]
    """The commands that repeat the run."""


def read_provenance(
    run: RunDirectory, events: Events, cluster: str, left_out: LeftOut
) -> RunProvenance:
    """Read the provenance from run.json, plan.json, code.json and the ledger.

    Args:
        run: the run directory.
        events: the events of its ledger.
        cluster: the cluster of the latest attempt; empty: there was no attempt.
        left_out: receives a note of what cannot be read.
    """
    record = left_out.reading("run.json", lambda: _object(run, "run.json"), {})
    plan = left_out.reading("plan.json", run.plan, None)
    code = left_out.reading("code.json", lambda: _object(run, "code.json"), {})
    states = code_states(code)
    joined = [(joined_of(event), _ranks(events, event)) for event in events.of("joined")]
    digest = record.get("config_sha256")
    return RunProvenance(
        config_sha256=plain(digest) if isinstance(digest, str) else "",
        created_at=moment(record, "created_at"),
        data=_data(record, plan),
        changes=_changes(record),
        code=states,
        software=_software([said for said, _ in joined]),
        devices=_devices(joined),
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


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _ranks(events: Events, joined: Event) -> int | None:
    """World size of the attempt in which rank 0 joined."""
    began = events.first("training_started", int(joined["attempt"]))
    return None if began is None else count(began, "ranks")


def _software(joined: Sequence[Joined]) -> dict[str, str]:
    return joined[-1].versions | joined[-1].variables if joined else {}


def _devices(joined: Sequence[tuple[Joined, int | None]]) -> tuple[str, ...]:
    """What the ranks ran on, in words: the facts of rank 0 and the number of ranks."""
    found: dict[str, None] = {}
    for said, ranks in joined:
        named = f" ({said.device_name})" if said.device_name not in ("", said.device) else ""
        words = [
            f"{counted(ranks, 'rank') if ranks else 'ranks'} on {said.device}{named}",
            said.strategy + (f" over {said.backend}" if said.backend else ""),
            f"{counted(said.threads, 'thread')} each" if said.threads else "",
        ]
        found.setdefault(", ".join(word for word in words if word))
    return tuple(found)[-MOST:]


def repeat_commands(
    run: RunDirectory,
    record: Mapping[str, Any],
    plan: RunPlan | None,
    code: Sequence[CodeState],
    cluster: str,
) -> tuple[str, ...]:
    """The commands that repeat the run, derived from its directory.

    Raises:
        UserError: run.json does not hold a valid config.
    """
    values = config_values(run.config())
    origins = record.get("origins")
    origin_of = origins if isinstance(origins, dict) else {}
    # A run without a batch script was started with ptycho-train, without run.yaml.
    by_hand = not run.script.exists()
    given = "" if by_hand else run.path.joinpath("run.yaml").read_text("utf-8", "replace")
    sets = []
    for path, value in values.items():
        origin = origin_of.get(path, "default")
        again = origin in _IN_RUN_YAML or str(origin).startswith("site ")
        if path.endswith("_data_file") and value != "null":
            # A relative path in run.yaml would mean another place for a copy in the run directory.
            again = json.loads(value) in given
        if not again and not (by_hand and path.startswith("resources.")):
            shown = REMOVED if names_a_secret(path) else _bare(value)
            sets.append(f"--set {shlex.quote(f'{path}={shown}')}")
    commands = []
    known = [checkout for checkout in code[-1].checkouts if checkout.commit] if code else []
    if known:
        place = shlex.quote(known[0].path)
        commands.append(f"git -C {place} checkout {shlex.quote(known[0].commit)}")
        if code[-1].diff:
            commands.append(f"git -C {place} apply {shlex.quote(str(run.path / code[-1].diff))}")
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
    """A JSON value as YAML takes it, with plain words and paths without quotes."""
    text = json.loads(value)
    plain_word = isinstance(text, str) and text.replace("_", "").replace("-", "").isalpha()
    return text if plain_word or (isinstance(text, str) and text.startswith("/")) else value
