"""Which run a person wants a report of."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, find_run_or_array
from ptycho_dist.rundir.layout import RunDirectory, find_run


def run_to_report(root: Path, reference: str) -> RunDirectory:
    """The run of a report.

    Args:
        root: where run directories are.
        reference: what a person has typed.

    Raises:
        UserError: there is none, or it is an array or a study.
    """
    found = find_run_or_array(root, reference)
    if not isinstance(found, ArrayDirectory):
        return found
    if (found.path / "study.json").is_file():
        name = found.array_id
        raise UserError(
            f"{name} is a scaling study: `ptycho-launch scale report {name}` reports on it; for "
            f"one of its runs name that, {name}.000 for one"
        )
    return find_run(root, reference)  # which says what an array is, and names a member
