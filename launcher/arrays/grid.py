"""`--array a.b=1,2 --array c.d=3,4` → axes, and a grid → job arrays of a size that SLURM takes."""

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
"""A site whose MaxArraySize is less has no job arrays."""
_OF_THE_JOB = ("resources", "environment")
_SINGLE_OF_THE_JOB = ("name", "site", "requeue.signal_lead_s")


def parse_axes(texts: Sequence[str], overrides: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Field path → values, in the order given.

    Args:
        texts: `section.field=value,value...`; the values are YAML, a list in brackets is one value.
        overrides: `--set` texts, which must not be about the same fields.

    Raises:
        UserError: a text is no axis, an axis is given twice, or it would change the job itself.
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
                raise UserError(f"--array {path}: {other} is given already; say each field once")
        values = parse_yaml(f"[{values_text}]", f"--array {path}")
        if not isinstance(values, list) or not values:
            raise UserError(f"--array {path}: no values; write them with commas, as in {path}=1,2")
        told = [json.dumps(value, default=str) for value in values]
        again = next((each for each in told if told.count(each) > 1), None)
        if again is not None:
            raise UserError(f"--array {path}: {again} stands there twice; its runs would be equal")
        axes[path] = values
    size = math.prod(len(values) for values in axes.values())
    if size > MAX_MEMBERS:
        raise UserError(f"--array: {size} runs, but an array holds at most {MAX_MEMBERS}")
    return axes


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _require_no_directive(path: str) -> None:
    if path.split(".")[0] in _OF_THE_JOB or path in (*_SINGLE_OF_THE_JOB, "requeue"):
        raise UserError(
            f"--array {path}: all members share one batch script, which this would change; "
            "submit such runs one by one"
        )


def grid(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination; the last axis changes fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


@dataclass(frozen=True)
class ArrayPart:
    """One job array."""

    base: int
    """Index of the member that is, or would be, its task 0."""
    digits: int
    """Of a member's index that its task number gives."""
    indices: Indices
    """Its members."""

    @property
    def tasks(self) -> str:
        """As `sbatch --array` takes them."""
        return str(Indices.of([index - self.base for index in self.indices]))


def split(indices: Sequence[int], members: int, max_array_size: int) -> list[ArrayPart]:
    """The job arrays for some members of an array, each within the site's MaxArraySize.

    Where not all fit into one, each takes the members of a power of ten: the directory of a
    member then ends in the number of its task, which a directive can say.

    Args:
        indices: of the members to submit.
        members: how many the array has.
        max_array_size: task numbers must be less than it.

    Raises:
        UserError: this SLURM has no job arrays.
    """
    if max_array_size < SMALLEST_SIZE:
        raise UserError(
            f"this SLURM takes no job arrays (MaxArraySize={max_array_size}); submit the runs one "
            "by one, or use --cluster local"
        )
    width = index_width(members)
    if members <= max_array_size:
        return [ArrayPart(0, width, Indices.of(indices))]
    digits = len(str(max_array_size)) - 1
    blocks: dict[int, list[int]] = {}
    for index in sorted(indices):
        blocks.setdefault(index // 10**digits * 10**digits, []).append(index)
    return [ArrayPart(base, digits, Indices.of(own)) for base, own in blocks.items()]
