"""Checked access to untrusted JSON: values of a known type, or an error that names the file."""

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
"""The year 3000; a later time is treated as damage."""


def read_object(path: str) -> Mapping[str, Any]:
    """Read the JSON object in a file.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or does not contain a JSON object.
    """
    return required_object(load_json(path), path)


def count(record: Mapping[str, Any], name: str) -> int | None:
    """Return a non-negative whole number below LARGEST; None: the entry is not one."""
    value = record.get(name)
    return value if type(value) is int and 0 <= value < LARGEST else None


def number(record: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number below LARGEST in size; None: the entry is not one."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < LARGEST else None


def amount(record: Mapping[str, Any], name: str) -> float | None:
    """Return a non-negative `number`; None: the entry is not one."""
    value = number(record, name)
    return value if value is not None and value >= 0 else None


def moment(record: Mapping[str, Any], name: str) -> float | None:
    """Return a time in seconds since the epoch; None: the entry is not one."""
    value = number(record, name)
    return value if value is not None and 0 <= value < LATEST else None


def scalars(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that are texts, truth values, finite numbers or null."""
    kept = (str, bool, type(None))
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, kept) or number(record, name) is not None
    }


def required_moment(record: Mapping[str, Any], name: str, where: str) -> float:
    """Return a `moment`, or raise a UserError that names the file `where`."""
    value = moment(record, name)
    if value is None:
        found = short(record.get(name))
        raise UserError(f"{where}: `{name}` must be a time in seconds, found {found}; damaged")
    return value


def required_text(record: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text, or raise a UserError that names the file `where`."""
    value = record.get(name)
    if not isinstance(value, str):
        raise UserError(f"{where}: `{name}` must be a text, found {short(value)}; damaged")
    return value


def required_object(value: object, where: str) -> Mapping[str, Any]:
    """Return a JSON object, or raise a UserError that names the file `where`."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object, found {short(value)}; damaged")
    return value


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found in a file, on one line: field, rule and value."""
    fault = error.errors(include_url=False)[0]
    field = ascii(".".join(str(part) for part in fault["loc"]))[1:-1]
    rule = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{field}: {rule}, found {short(fault['input'])}" if field else rule


def short(value: object) -> str:
    """Shorten the text of a value for an error message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
