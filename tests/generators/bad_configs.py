"""Bad run configs, made from the normative schema: a new field is covered without a line here.

The schema is that of specs/run_config.schema.json, not of the code: a bound that is lost in the
code is still asked for. What a schema cannot say (contradictions, files, times) is listed.
"""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).parents[2] / "specs" / "run_config.schema.json"
VALUES = (
    "no such thing", "", 7, -7, 7.5, 10**30, True, None, [], ["no such thing"], [[7]], {"x": 7},
)  # fmt: skip
"""Of every type that YAML has; each field is given those that its schema refuses."""
NOT_FINITE = {"@nan@": ".nan", "@inf@": ".inf", "@-inf@": "-.inf"}
"""What JSON cannot write, and YAML can."""
TAKEN_ALL_THE_SAME = {("execution.logger_backend", "null")}
"""Field and JSON value that the contract takes, though the schema does not say so (EC-060)."""


@dataclass(frozen=True)
class BadConfig:
    """A config with one fault, and where it must be found."""

    kind: str
    field: str
    data: dict[str, Any]
    words: str = ""
    """What the message must say beside the field."""
    overrides: tuple[str, ...] = ()
    """Of `--set`, where the fault is there."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.field} in {self.text()[:300]} {' '.join(self.overrides)}"

    def text(self) -> str:
        """As YAML; JSON is YAML but for the numbers that are none."""
        text = json.dumps(self.data)
        for mark, number in NOT_FINITE.items():
            text = text.replace(f'"{mark}"', number)
        return text

    def complaints(self, config: Path, code: int, out: str, err: str) -> list[str]:
        """What is wrong with a refusal of this config by a command; empty: nothing."""
        found = []
        if code != 2:
            found.append(f"exit {code}")
        if out:
            found.append(f"stdout: {out[:200]!r}")
        lines = err.splitlines()
        begins = f"error: {config}: "
        if "Traceback" in err or not all(line.startswith(begins) for line in lines):
            found.append(f"not one line per fault: {err[:500]!r}")
        if not all(line.isprintable() for line in lines):
            found.append(f"control characters: {err[:500]!r}")
        said = [line.removeprefix(begins) for line in lines]
        if self.field not in {line.partition(": ")[0] for line in said}:
            found.append(f"another field: {said}")
        elif self.words and not any(
            line.startswith(f"{self.field}: ") and self.words in line for line in said
        ):
            found.append(f"says nothing of {self.words!r}: {said}")
        if self.kind != "contradiction" and len(lines) != 1:
            found.append(f"{len(lines)} faults for one: {said}")
        return [f"{self}: {each}" for each in found]


@cache
def schema() -> dict[str, Any]:
    """The schema of run.yaml."""
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return loaded


@cache
def sections() -> dict[str, dict[str, Any]]:
    """Section → its schema; the fields of the top level are those of ''."""
    found: dict[str, dict[str, Any]] = {"": {"properties": {}, "required": schema()["required"]}}
    for name, described in schema()["properties"].items():
        reference = described.get("$ref")
        if reference is None:
            found[""]["properties"][name] = described
        else:
            found[name] = schema()["$defs"][reference.rpartition("/")[2]]
    return found


def fields() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Section, name and schema of each field."""
    for section, described in sections().items():
        for name, of_field in described["properties"].items():
            yield section, name, of_field


def alternatives(of_field: dict[str, Any]) -> list[dict[str, Any]]:
    """The members of a union; a field that is none is its own."""
    return list(of_field.get("anyOf", [of_field]))


def bad_configs(train_file: Path) -> list[BadConfig]:
    """All of them.

    Args:
        train_file: of 37 patterns of 64 × 64 pixels, without labels, of whole counts.
    """
    good = {"name": "tiny", "reconstruct": False, "data": {"train_data_file": str(train_file)}}
    return [
        *_bad_values(good),
        *_bad_sections(good),
        *_missing(good),
        *_unknown_keys(good),
        *_beyond_the_schema(good),
    ]


def _with(good: dict[str, Any], section: str, name: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(good)
    block = data.setdefault(section, {}) if section else data
    block[name] = value
    return data


def _path(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _bad_values(good: dict[str, Any]) -> Iterator[BadConfig]:
    """Wrong type, out of range, null where it is not allowed; in run.yaml, and by `--set`."""
    for section, name, of_field in fields():
        path = _path(section, name)
        for inner, value in _refused(of_field):
            if (path, json.dumps(value)) in TAKEN_ALL_THE_SAME:
                continue
            yield BadConfig("value", f"{path}{inner}", _with(good, section, name, value))
        for mark in NOT_FINITE:
            if any(each.get("type") == "number" for each in alternatives(of_field)):
                yield BadConfig("value", path, _with(good, section, name, mark))
        given = f"{path}={json.dumps([[7]])}"
        inner = next((inner for inner, value in _refused(of_field) if value == [[7]]), "")
        yield BadConfig("value", f"{path}{inner}", good, overrides=(given,))


def _refused(of_field: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Path within the field, and a value that its schema refuses."""
    valid = Draft202012Validator(of_field).is_valid
    candidates = [*VALUES, *(value for each in alternatives(of_field) for value in _beyond(each))]
    seen = set()
    for value in candidates:
        if valid(value) or json.dumps(value) in seen:
            continue
        seen.add(json.dumps(value))
        yield from _within(alternatives(of_field), value)
    for each in alternatives(of_field):
        for pattern, of_value in each.get("patternProperties", {}).items():
            takes = Draft202012Validator({"pattern": pattern}).is_valid
            name = next(name for name in ("NAME", "name") if takes(name))
            for value in (7, None, ["x"], {}):
                if not Draft202012Validator(of_value).is_valid(value):
                    yield f".{name}", {name: value}
            for key in ("", "1x", "a-b", "a b", "x" * 257):
                if len(key) > 256 or not takes(key):
                    yield f".{key}", {key: "x"}


def _within(members: list[dict[str, Any]], value: Any) -> Iterator[tuple[str, Any]]:
    """The fault is that of the item where a list may stand, and of the value elsewhere."""
    items = [each["items"] for each in members if each.get("type") == "array"]
    mapping = any("patternProperties" in each for each in members)
    if isinstance(value, dict) and mapping:
        yield f".{next(iter(value))}", value
    elif not isinstance(value, list) or not value or not items:
        yield "", value
    elif not Draft202012Validator(items[0]).is_valid(value[0]):
        yield "[0]", value
    else:
        yield "", value


def _beyond(member: dict[str, Any]) -> Iterator[Any]:
    """Values just outside of each bound."""
    if "minimum" in member:
        yield member["minimum"] - 1
    if "maximum" in member:
        yield member["maximum"] + 1
    if "exclusiveMinimum" in member:
        yield member["exclusiveMinimum"]
    if "exclusiveMaximum" in member:
        yield member["exclusiveMaximum"]
    if "maxLength" in member:
        yield "x" * (member["maxLength"] + 1)
    if "enum" in member or "const" in member:
        for allowed in member.get("enum", [member.get("const")]):
            yield f"{allowed}x" if isinstance(allowed, str) else allowed + 1
    if "pattern" in member:
        yield from (f"-{string.ascii_letters}", "a b", 'a"b', "a'b", "ä", "a;b", "$(x)", "`x`")
    if member.get("type") == "array":
        items = member["items"]
        yield from ([value] for value in _beyond(items))
        if "maxItems" in member:
            yield [items.get("minimum", 7)] * (member["maxItems"] + 1)


def _bad_sections(good: dict[str, Any]) -> Iterator[BadConfig]:
    for section in filter(None, sections()):
        for value in ("no such thing", "", 7, 7.5, True, [], [7], [{"x": 7}]):
            yield BadConfig("section", section, {**good, section: value})


def _missing(good: dict[str, Any]) -> Iterator[BadConfig]:
    for section, described in sections().items():
        for name in described.get("required", ()):
            data = copy.deepcopy(good)
            del (data[section] if section else data)[name]
            yield BadConfig("missing", _path(section, name), data, "missing")
    data = {**good, "data": None}  # a heading with nothing under it
    yield BadConfig("missing", "data.train_data_file", data, "missing")


def _misspelt(name: str) -> Iterator[str]:
    yield from (f"{name}s", name.replace("_", "-"), name.upper())
    if len(name) > 3:
        yield f"{name[0]}{name[2]}{name[1]}{name[3:]}"


def _unknown_keys(good: dict[str, Any]) -> Iterator[BadConfig]:
    known = {name for _, name, _ in fields()} | set(sections())
    for section, name, _ in fields():
        path = _path(section, name)
        for wrong in sorted(set(_misspelt(name)) - known - {""}):
            words = f"did you mean {path}?" if len(name) > 6 else "unknown key"
            data = _with(good, section, wrong, 7)
            yield BadConfig("unknown", _path(section, wrong), data, words)
        elsewhere = "legacy" if section != "legacy" else ""
        words = f"did you mean {path}?"
        yield BadConfig("unknown", _path(elsewhere, name), _with(good, elsewhere, name, 7), words)


def _beyond_the_schema(good: dict[str, Any]) -> Iterator[BadConfig]:
    """Rules of one field that no schema says, then fields that contradict each other."""
    for field, value in RULES:
        section, _, name = field.partition("[")[0].partition(".")
        yield BadConfig("rule", field, _with(good, section, name, value))
    for field, changed in CONTRADICTIONS:
        data = copy.deepcopy(good)
        for section, values in changed.items():
            data[section] = {**data.get(section, {}), **values}
        yield BadConfig("contradiction", field, data)


RULES = [
    *(
        ("resources.time", text)
        for text in ("0", "00:00:00", "1:60:00", "1-00:60", "-5", "1h", "1:2:3:4", "99999999999")
    ),
    *(("training.batch_size", count) for count in (3, 12, 100)),
    *(
        (f"environment.env.{name}", {name: "x"})
        for name in (
            "SLURM_CONF", "SBATCH_PARTITION", "SUBMITIT_X", "PTYCHO_DIST_ATTEMPT", "RANK",
            "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "OMP_NUM_THREADS",
        )
    ),
    ("environment.setup[0]", ["two\nlines"]),
    ("environment.setup[1]", ["fine", "escape \x1b[31m"]),
    ("environment.env.NAME", {"NAME": "two\nlines"}),
    ("environment.env.NAME", {"NAME": "bell \x07"}),
    ("training.positions_provided", False),
    ("training.backend", "tensorflow"),
    ("execution.pad_eval", True),
    ("model.probe_scale", 1.0),
    *(("environment.venv", path) for path in ("/nowhere", "two\nlines", "\x1b[2J")),
    *(
        ("data.train_data_file", path)
        for path in ("", "/nowhere.npz", "/", "~nobody-here/x", "\x00", "two\nlines", "\x1b[2J")
    ),
    ("data.test_data_file", "/nowhere.npz"),
    ("execution.checkpoint_monitor_metric", "mae_val_loss"),
    ("execution.middle_trim", 7),
    ("execution.middle_trim", 66),
]  # fmt: skip
"""Field and value."""
CONTRADICTIONS: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("execution.devices", {"execution": {"devices": 3}, "resources": {"tasks_per_node": 2}}),
    ("execution.num_nodes", {"execution": {"num_nodes": 3}, "resources": {"nodes": 2}}),
    ("resources.tasks_per_node", {"resources": {"gpus_per_node": 4, "tasks_per_node": 2}}),
    ("resources.gpus_per_node", {"resources": {"gpus_per_node": 1},
                                 "execution": {"accelerator": "cpu"}}),
    ("resources.gpus_per_node", {"execution": {"accelerator": "cuda"}}),
    ("resources.gpus_per_node", {"execution": {"accelerator": "gpu"}}),
    ("execution.accelerator", {"execution": {"accelerator": "mps"}, "resources": {"nodes": 2}}),
    ("execution.accelerator", {"execution": {"accelerator": "tpu"}}),
    ("resources.gpu_type", {"resources": {"gpu_type": "a100"}}),
    ("resources.mail_user", {"resources": {"mail_user": "someone@example.org"}}),
    ("resources.mem_per_node", {"resources": {"mem_per_node": "4G",
                                              "sbatch_options": {"mem-per-gpu": "1G"}}}),
    ("environment.container_mounts", {"environment": {"container_mounts": ["/scratch"]}}),
    ("environment.container_options", {"environment": {"container_options": ["--nv"]}}),
    *(
        ("resources.sbatch_options", {"resources": {"sbatch_options": {name: value}}})
        for name, value in (
            ("nodes", "4"), ("ntasks", "4"), ("gres", "gpu:4"), ("arr", "1-4"), ("x11", ""),
        )
    ),
    ("requeue.signal_lead_s", {"requeue": {"signal_lead_s": 3600}}),
    ("requeue.signal_lead_s", {"requeue": {"signal_lead_s": 600}, "resources": {"time": "10"}}),
    ("resources.time", {"resources": {"time": "2"}}),
    ("data.n_subsample", {"data": {"n_subsample": 38}}),
    ("data.n_groups", {"data": {"n_groups": 38}}),
    ("data.n_groups", {"data": {"n_groups": 11, "n_subsample": 10}}),
    ("resources.nodes", {"resources": {"nodes": 38}}),
    ("data.neighbor_count", {"data": {"neighbor_count": 3}, "model": {"gridsize": 2}}),
    ("data.neighbor_count", {"data": {"neighbor_count": 37}, "model": {"gridsize": 2}}),
    ("model.model_type", {"model": {"model_type": "supervised"},
                          "training": {"realspace_weight": 1.0}}),
    ("model.model_type", {"model": {"model_type": "supervised"}}),
    ("training.nphotons", {"training": {"nphotons": 1e9}}),
    ("model.N", {"model": {"N": 128}}),
    ("data.block_size", {"data": {"block_size": 38}}),
    ("execution.recon_log_fixed_indices", {
        "execution": {"recon_log_every_n_epochs": 1, "recon_log_fixed_indices": [37]}}),
    ("execution.precision", {"execution": {"precision": "16-mixed", "accelerator": "cpu"}}),
    ("training.nll_weight", {"training": {"nll_weight": 0}}),
    ("training.probe_trainable", {
        "model": {"model_type": "supervised"},
        "training": {"nll_weight": 0, "realspace_weight": 1.0, "probe_trainable": True}}),
    ("training.intensity_scale_trainable", {
        "model": {"model_type": "supervised"},
        "training": {"nll_weight": 0, "realspace_weight": 1.0, "intensity_scale_trainable": True}}),
    ("model.gridsize", {"model": {"gridsize": 2}, "data": {"block_size": 8}}),
    ("model.object_big", {"model": {"object_big": False}, "data": {"block_size": 8}}),
    ("training.realspace_weight", {"training": {"realspace_weight": 1.0}}),
    ("training.realspace_mae_weight", {"training": {"realspace_mae_weight": 1.0}}),
    ("model.stages", {"model": {"stages": 7}}),
    *(
        (f"model.{field}", {"model": {"architecture": "unrolled", field: value}})
        for field, value in (("amp_activation", "relu"), ("probe_big", False),
                             ("pad_object", False), ("gaussian_smoothing_sigma", 1.0))
    ),
    ("model.probe_big", {"model": {"pad_object": False, "probe_big": False}}),
    *(
        (f"execution.{field}", {"execution": {field: value, "enable_checkpointing": False}})
        for field, value in (("checkpoint_every_n_steps", 5), ("checkpoint_every_s", 5))
    ),
    *(
        (f"execution.{field}", {"execution": {field: value}})
        for field, value in (("recon_log_fixed_indices", [0]), ("recon_log_stitch", True),
                             ("recon_log_max_stitch_samples", 5), ("persistent_workers", True),
                             ("prefetch_factor", 2))
    ),
]  # fmt: skip
"""Where the contradiction must be found, and the values that make it, by section."""
