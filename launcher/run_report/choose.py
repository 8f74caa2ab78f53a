"""Which run a person wants a report of."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, find_run_or_array
from ptycho_dist.rundir.layout import RunDirectory


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
    name = found.array_id
    if (found.path / "study.json").is_file():
        raise UserError(
            f"{name} is a scaling study: `ptycho-launch scale report {name}` reports on it; "
            f"a single run of it is {name}.000 for one"
        )
    raise UserError(
        f"{name} is an array; a report is of one run: name a member, {name}.000 for one"
    )
