"""Plain data of JSON files that anybody may have written: read, checked, and named where it is not
what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ptycho_dist.errors import UserError

if TYPE_CHECKING:
    from pydantic import ValidationError
from ptycho_dist.rundir.files import load_json

LARGEST = 2**53
"""Whole numbers up to this are exact in any reader of JSON."""
LATEST = 32_503_680_000.0
"""The year 3000: what is later is damage."""


def read_object(path: str) -> Mapping[str, Any]:
    """The JSON object in a file.

    Raises:
        UserError: it cannot be read, or is none.
        FileNotFoundError: there is no such file.
    """
    return required_object(load_json(path), path)


def count(record: Mapping[str, Any], name: str) -> int | None:
    """A whole number, not negative, of a sane size; None: there is none."""
    value = record.get(name)
    return value if type(value) is int and 0 <= value < LARGEST else None


def number(record: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a sane size; None: there is none."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < LARGEST else None


def amount(record: Mapping[str, Any], name: str) -> float | None:
    """`number` that is not negative; None: there is none."""
    value = number(record, name)
    return value if value is not None and value >= 0 else None


def moment(record: Mapping[str, Any], name: str) -> float | None:
    """Seconds since the epoch; None: there is no such time."""
    value = number(record, name)
    return value if value is not None and 0 <= value < LATEST else None


def scalars(record: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are texts, finite numbers, or nothing: what may be printed as JSON."""
    kept = (str, bool, type(None))
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, kept) or number(record, name) is not None
    }


def required_moment(record: Mapping[str, Any], name: str, where: str) -> float:
    """`moment`; raises a UserError, which names the file, where there is none."""
    value = moment(record, name)
    if value is None:
        found = short(record.get(name))
        raise UserError(f"{where}: `{name}` is a time in seconds, found {found}; damaged")
    return value


def required_text(record: Mapping[str, Any], name: str, where: str) -> str:
    """A text; raises a UserError, which names the file, where there is none."""
    value = record.get(name)
    if not isinstance(value, str):
        raise UserError(f"{where}: `{name}` is a text, found {short(value)}; damaged")
    return value


def required_object(value: object, where: str) -> Mapping[str, Any]:
    """A JSON object; raises a UserError, which names the file, where it is none."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: an object is expected, found {short(value)}; damaged")
    return value


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found in a file, on one line: field, rule and value."""
    fault = error.errors(include_url=False)[0]
    field = ascii(".".join(str(part) for part in fault["loc"]))[1:-1]
    rule = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{field}: {rule}, found {short(fault['input'])}" if field else rule


def short(value: object) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
