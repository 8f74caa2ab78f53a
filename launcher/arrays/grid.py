"""Reads `--array` texts into axes, and splits a grid into job arrays that SLURM accepts."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_dist.config.yaml_text import parse_yaml
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import MAX_MEMBERS, Indices, index_width

SMALLEST_SIZE = 10
"""A site with a smaller MaxArraySize is treated as one without job arrays."""
_SECTIONS_OF_THE_SCRIPT = ("resources", "environment")
_FIELDS_OF_THE_SCRIPT = ("name", "site", "requeue", "requeue.signal_lead_s")


def parse_axes(texts: Sequence[str], overrides: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Read the axes of a grid.

    Args:
        texts: `section.field=value,value...`; the values are YAML, a list in brackets is one value.
        overrides: `--set` texts, which must not set the same fields.

    Returns:
        Field path → values, in the order given.

    Raises:
        UserError: a text is not an axis, a field is set twice, or it would change the batch script.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        path, equals, values_text = text.partition("=")
        path = path.strip()
        if not equals or not all(path.split(".")):
            raise UserError(f"--array {text}: section.field=value,value is expected")
        _require_no_directive(path)
        taken = [*axes, *(override.partition("=")[0].strip() for override in overrides)]
        for other in taken:
            if _overlap(path, other):
                raise UserError(f"--array {path}: {other} is set already; set each field once")
        values = parse_yaml(f"[{values_text}]", f"--array {path}")
        if not isinstance(values, list) or not values:
            raise UserError(f"--array {path}: no values; write them with commas, as in {path}=1,2")
        written = [json.dumps(value, default=str) for value in values]
        again = next((each for each in written if written.count(each) > 1), None)
        if again is not None:
            raise UserError(f"--array {path}: {again} is given twice; its runs would be equal")
        axes[path] = values
    size = math.prod(len(values) for values in axes.values())
    if size > MAX_MEMBERS:
        raise UserError(f"--array: {size} runs, but an array holds at most {MAX_MEMBERS}")
    return axes


def _overlap(one: str, other: str) -> bool:
    """Whether two field paths are the same, or one is a section that holds the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _require_no_directive(path: str) -> None:
    """Refuse a field that the batch script depends on."""
    if path.split(".")[0] in _SECTIONS_OF_THE_SCRIPT or path in _FIELDS_OF_THE_SCRIPT:
        raise UserError(
            f"--array {path}: all members share one batch script, which this would change; "
            "submit such runs one by one"
        )


def grid(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values; the last axis changes fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


@dataclass(frozen=True)
class ArrayPart:
    """The members of an array that one job array runs."""

    base: int
    """Index of the member that is, or would be, task 0 of the job array."""
    digits: int
    """Number of digits of a member's index that the task number gives."""
    indices: Indices
    """Indices of the members."""

    @property
    def tasks(self) -> str:
        """The task numbers, as `sbatch --array` takes them."""
        return str(Indices.of([index - self.base for index in self.indices]))


def split(indices: Sequence[int], members: int, max_array_size: int) -> list[ArrayPart]:
    """Split members over job arrays, each within the site's MaxArraySize.

    If one job array cannot hold all, each holds the members of a power of ten. The directory of a
    member then ends in its task number, which is what a `#SBATCH` line can express.

    Args:
        indices: of the members to submit.
        members: number of members of the array.
        max_array_size: MaxArraySize of the site; every task number is less than it.

    Raises:
        UserError: this SLURM has no job arrays.
    """
    if max_array_size < SMALLEST_SIZE:
        raise UserError(
            f"this SLURM does not accept job arrays (MaxArraySize={max_array_size}); submit "
            "the runs one by one, or use --cluster local"
        )
    width = index_width(members)
    if members <= max_array_size:
        return [ArrayPart(0, width, Indices.of(indices))]
    digits = len(str(max_array_size)) - 1
    blocks: dict[int, list[int]] = {}
    for index in sorted(indices):
        blocks.setdefault(index // 10**digits * 10**digits, []).append(index)
    return [ArrayPart(base, digits, Indices.of(own)) for base, own in blocks.items()]
