"""study.json: written whole before anything is submitted, and read as untrusted input."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from launcher.scaling.study.definition import MOST_LANES, Study
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.checked_json import first_fault, read_object
from ptycho_dist.rundir.files import read_bytes


def study_record(study: Study) -> dict[str, Any]:
    """Plain data for study.json."""
    return asdict(study)


def read_study(directory: ArrayDirectory) -> Study:
    """Read and check the study in a directory.

    Raises:
        UserError: study.json is missing or damaged; the message names file and field.
    """
    where = directory.study_json
    try:
        study = _adapter().validate_json(read_bytes(where), strict=True)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file; not a scaling study") from None
    except ValidationError as error:
        raise UserError(f"{where}: {first_fault(error)}; the file is damaged") from None
    if [point.index for point in study.points] != list(range(len(study.points))):
        raise UserError(
            f"{where}: points: their indices are not 0, 1, 2 and so on; the file is damaged"
        )
    return study


def lanes_of(directory: ArrayDirectory) -> int:
    """Number of points of a study that may run at the same time.

    Raises:
        UserError: array.json is missing or is not JSON.
    """
    try:
        lanes = read_object(str(directory.array_json)).get("throttle")
    except FileNotFoundError:
        raise UserError(f"{directory.array_json}: no such file; not a scaling study") from None
    return lanes if type(lanes) is int and 1 <= lanes <= MOST_LANES else 1


@cache
def _adapter() -> TypeAdapter[Study]:
    return TypeAdapter(Study)
