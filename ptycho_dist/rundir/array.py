"""An array: many runs of one grid, submitted as job arrays; each member is an ordinary run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory, is_code_diff

FORMAT = 1
MAX_MEMBERS = 10_000
_OWNED = frozenset(
    {
        *("array.json", "members", "logs", "submission.json", "submission.lock", "submitit"),
        *("code", "code.json", "study.json", "report"),
    }
)
_SCRIPT = re.compile(r"job(-\d{3,6})?\.sbatch")
_RANGES = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*")


@dataclass(frozen=True)
class Indices:
    """Indices of members, as SLURM writes them: `0-3,7`."""

    ranges: tuple[tuple[int, int], ...]
    """First and last, both included, ascending."""

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Indices:
        """Of single numbers, in any order."""
        ranges: list[tuple[int, int]] = []
        for number in sorted(set(numbers)):
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        return cls(tuple(ranges))

    @classmethod
    def parse(cls, text: object) -> Indices:
        """Read what `str` wrote.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(text, str) or not _RANGES.fullmatch(text):
            raise ValueError(f"no indices: {str(text)[:40]!r}")
        parts = (part.partition("-") for part in text.split(","))
        return cls(tuple((int(first), int(last or first)) for first, _, last in parts))

    def __str__(self) -> str:
        return ",".join(
            str(first) if first == last else f"{first}-{last}" for first, last in self.ranges
        )

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)


@dataclass(frozen=True)
class ArrayMember:
    """One run of an array."""

    index: int
    run: RunDirectory
    values: dict[str, Any]
    """Field path → value, of the axes."""


@dataclass(frozen=True)
class ArrayDirectory:
    """An array by its path; opening it reads nothing."""

    path: Path

    @property
    def array_id(self) -> str:
        """The name of the directory."""
        return self.path.name

    @property
    def array_json(self) -> Path:
        """Axes and members; written whole before anything is submitted, and never changed."""
        return self.path / "array.json"

    @property
    def study_json(self) -> Path:
        """What a scaling study was asked for, and its points; there alone where it is one."""
        return self.path / "study.json"

    @property
    def submission_json(self) -> Path:
        """The job arrays that the launcher has submitted; written by the launcher alone."""
        return self.path / "submission.json"

    @property
    def code(self) -> Path:
        """The frozen code of all members, where `environment.snapshot` asks for it."""
        return self.path / "code"

    @property
    def code_json(self) -> Path:
        """Which code the array was submitted with."""
        return self.path / "code.json"

    @property
    def logs(self) -> Path:
        """What belongs to no member."""
        return self.path / "logs"

    def script(self, number: int) -> Path:
        """What is submitted as the job array of this number, counted from 0."""
        return self.path / ("job.sbatch" if number == 0 else f"job-{number:03d}.sbatch")

    def stem(self, width: int, base: int, digits: int) -> str:
        """Path of the members of a job array up to the last `digits` digits of their index.

        Args:
            width: digits of an index.
            base: index of the member that is task 0 of the job array; a multiple of 10**digits,
                or 0 where `digits` is `width`.
            digits: that come from SLURM's task number.
        """
        prefix = f"{base:0{width}d}"[: width - digits]
        return f"{self.path}/members/{self.array_id}.{prefix}"

    def read(self) -> tuple[dict[str, list[Any]], list[ArrayMember]]:
        """Axes and members of array.json.

        Raises:
            UserError: it is missing, or not an array.
        """
        record = read_json(self.array_json)
        try:
            if record["format"] != FORMAT:
                raise ValueError(f"format {FORMAT} is expected")
            axes = {str(field): list(values) for field, values in record["axes"].items()}
            members = [
                ArrayMember(int(each["index"]), self._run(each["run_id"]), dict(each["values"]))
                for each in record["members"]
            ]
            if [member.index for member in members] != list(range(len(members))):
                raise ValueError("its members are not counted 0, 1, 2 ...")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{self.array_json}: not an array: {error}") from None
        return axes, members

    def _run(self, run_id: object) -> RunDirectory:
        name = str(run_id)
        if _index_in(name) is None or "/" in name:
            raise ValueError(f"no member: {name[:80]!r}")
        return RunDirectory(self.path / "members" / name)

    @classmethod
    def of_member(cls, run: RunDirectory) -> tuple[ArrayDirectory, int] | None:
        """The array that a run belongs to, and its index there; None: it is no member."""
        index = _index_in(run.run_id)
        folder = run.path.parent
        if index is None or folder.name != "members":
            return None
        array = cls(folder.parent)
        return (array, index) if array.array_json.is_file() else None


def member_id(array_id: str, index: int, width: int) -> str:
    """`<array-id>.003`: the run id of a member."""
    return f"{array_id}.{index:0{width}d}"


def index_width(members: int) -> int:
    """Digits of the indices of an array: three, or more where there are more members."""
    return max(3, len(str(members - 1)))


def _index_in(name: str) -> int | None:
    head, _, digits = name.rpartition(".")
    return int(digits) if head and digits.isdecimal() and 3 <= len(digits) <= 6 else None


def is_owned_by_array(name: str) -> bool:
    """Whether an entry of the directory of an array is not a person's."""
    return name in _OWNED or _SCRIPT.fullmatch(name) is not None or is_code_diff(name)
