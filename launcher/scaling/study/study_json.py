"""study.json: written whole before anything is submitted, read with suspicion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from launcher.scaling.study.definition import FORMAT, LrRule, Mode, Point, Study
from launcher.scaling.study.request import MOST_LANES, MOST_NODES, MOST_REPEATS, MOST_TASKS
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.checked_json import (
    number,
    read_object,
    required_moment,
    required_object,
    required_text,
    short,
)
from ptycho_dist.rundir.measurement_plan import MOST, MeasurementPlan

BASE = {
    "ranks": int,
    "batch_size": int,
    "accum_steps": int,
    "global_batch": int,
    "learning_rate": float,
    "samples": int,
    "epochs": int,
}
_MOST_BATCH = 10**15
_Word = TypeVar("_Word", bound=str)


def study_record(study: Study) -> dict[str, Any]:
    """Plain data for study.json."""
    return {"format": FORMAT, **asdict(study)}


def read_study(directory: ArrayDirectory) -> Study:
    """The study in a directory.

    Raises:
        UserError: study.json is missing or damaged; it says where.
    """
    where = str(directory.study_json)
    try:
        record = read_object(where)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file; not a scaling study") from None
    if record.get("format") != FORMAT:
        found = short(record.get("format"))
        raise UserError(f"{where}: format {FORMAT} is expected, found {found}")
    listed = record.get("points")
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{where}: `points` is a list, found {short(listed)}; damaged")
    points = tuple(_point(required_object(each, where), where) for each in listed)
    if [point.index for point in points] != list(range(len(points))):
        raise UserError(f"{where}: its points are not counted 0, 1, 2 ...; damaged")
    return Study(
        name=required_text(record, "name", where),
        created_at=required_moment(record, "created_at", where),
        cluster=_word(record, "cluster", ("slurm", "local"), where),
        command=_texts(record, "command", where),
        config_sha256=required_text(record, "config_sha256", where),
        base=_base(record, where),
        modes=_modes(record, where),
        nodes=_counts(record, "nodes", MOST_NODES, where),
        tasks_per_node=_counts(record, "tasks_per_node", MOST_TASKS, where),
        repeats=_count(record, "repeats", 1, MOST_REPEATS, where),
        seed=_count(record, "seed", 0, MOST, where),
        lr_rule=_word(record, "lr_rule", get_args(LrRule), where),
        measurement=_measurement(record, where),
        points=points,
    )


def lanes_of(directory: ArrayDirectory) -> int:
    """How many points of a study may run beside each other.

    Raises:
        UserError: array.json is missing or no JSON.
    """
    try:
        lanes = read_object(str(directory.array_json)).get("throttle")
    except FileNotFoundError:
        raise UserError(f"{directory.array_json}: no such file; not a scaling study") from None
    return lanes if type(lanes) is int and 1 <= lanes <= MOST_LANES else 1


def _point(record: Mapping[str, Any], where: str) -> Point:
    overrides = required_object(record.get("overrides"), where)
    if not all(isinstance(value, str) or _is_number(value) for value in overrides.values()):
        raise UserError(f"{where}: `overrides` holds texts and numbers alone; damaged")
    return Point(
        index=_count(record, "index", 0, MOST, where),
        modes=_modes(record, where),
        nodes=_count(record, "nodes", 1, MOST_NODES, where),
        tasks_per_node=_count(record, "tasks_per_node", 1, MOST_TASKS, where),
        repeat=_count(record, "repeat", 0, MOST_REPEATS, where),
        batch_size=_count(record, "batch_size", 1, _MOST_BATCH, where),
        global_batch=_count(record, "global_batch", 1, _MOST_BATCH, where),
        learning_rate=_positive(record, "learning_rate", where),
        overrides=dict(overrides),
    )


def _measurement(record: Mapping[str, Any], where: str) -> MeasurementPlan:
    asked = record.get("measurement")
    try:
        return TypeAdapter(MeasurementPlan).validate_python(asked, strict=True)
    except ValidationError:
        raise UserError(f"{where}: `measurement` is none, found {short(asked)}; damaged") from None


def _base(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = required_object(record.get("base"), where)
    return {
        name: _count(found, name, 1, _MOST_BATCH, where)
        if kind is int
        else _positive(found, name, where)
        for name, kind in BASE.items()
    }


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and number({"": value}, "") is not None


def _count(record: Mapping[str, Any], name: str, least: int, most: int, where: str) -> int:
    value = record.get(name)
    if type(value) is not int or not least <= value <= most:
        raise UserError(
            f"{where}: `{name}` is a whole number from {least} to {most}, found {short(value)}; "
            "damaged"
        )
    return value


def _positive(record: Mapping[str, Any], name: str, where: str) -> float:
    value = number(record, name)
    if value is None or not math.isfinite(value) or value <= 0:
        found = short(record.get(name))
        raise UserError(f"{where}: `{name}` is a number above 0, found {found}; damaged")
    return value


def _counts(record: Mapping[str, Any], name: str, most: int, where: str) -> tuple[int, ...]:
    values = record.get(name)
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: `{name}` is a list, found {short(values)}; damaged")
    return tuple(_count({name: value}, name, 1, most, where) for value in values)


def _texts(record: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = record.get(name)
    if not isinstance(values, list):
        raise UserError(f"{where}: `{name}` is a list of texts, found {short(values)}; damaged")
    return tuple(required_text({name: value}, name, where) for value in values)


def _modes(record: Mapping[str, Any], where: str) -> tuple[Mode, ...]:
    values = record.get("modes")
    known: tuple[Mode, ...] = get_args(Mode)
    if not isinstance(values, list) or not values or any(value not in known for value in values):
        raise UserError(f"{where}: `modes` are strong and weak, found {short(values)}; damaged")
    return tuple(mode for mode in known if mode in values)


def _word(record: Mapping[str, Any], name: str, known: tuple[_Word, ...], where: str) -> _Word:
    value = record.get(name)
    for word in known:
        if value == word:
            return word
    choices = ", ".join(known)
    raise UserError(f"{where}: `{name}` is one of {choices}, found {short(value)}; damaged")
