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
    """Indices of array members, in the notation of SLURM: `0-3,7`."""

    ranges: tuple[tuple[int, int], ...]
    """Ranges in ascending order: first and last index, both included."""

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Indices:
        """Make the ranges from single indices in any order."""
        ranges: list[tuple[int, int]] = []
        for number in sorted(set(numbers)):
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        return cls(tuple(ranges))

    @classmethod
    def parse(cls, text: object) -> Indices:
        """Parse the text that `str` gives.

        Raises:
            ValueError: the text is something else.
        """
        if not isinstance(text, str) or not _RANGES.fullmatch(text):
            raise ValueError(f"not a list of indices: {str(text)[:40]!r}")
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
    """Its index, counted from 0."""
    run: RunDirectory
    """Its run directory."""
    values: dict[str, Any]
    """Field path → value, for each axis of the grid."""


@dataclass(frozen=True)
class ArrayDirectory:
    """The directory of an array, by its path; creating the object reads nothing."""

    path: Path

    @property
    def array_id(self) -> str:
        """The name of the directory."""
        return self.path.name

    @property
    def array_json(self) -> Path:
        """Axes and members; written completely before anything is submitted, and never changed."""
        return self.path / "array.json"

    @property
    def study_json(self) -> Path:
        """Request and points of a scaling study; only a study has this file."""
        return self.path / "study.json"

    @property
    def submission_json(self) -> Path:
        """The job arrays that the launcher has submitted; only the launcher writes this file."""
        return self.path / "submission.json"

    @property
    def code(self) -> Path:
        """The frozen code of all members, if `environment.snapshot` asks for it."""
        return self.path / "code"

    @property
    def code_json(self) -> Path:
        """The code with which the array was submitted."""
        return self.path / "code.json"

    @property
    def logs(self) -> Path:
        """Logs that do not belong to one member."""
        return self.path / "logs"

    def script(self, number: int) -> Path:
        """The batch script of the job array with this number, counted from 0."""
        return self.path / ("job.sbatch" if number == 0 else f"job-{number:03d}.sbatch")

    def stem(self, width: int, base: int, digits: int) -> str:
        """Path of the members of a job array without the last `digits` digits of their index.

        Args:
            width: number of digits of an index.
            base: index of the member that is task 0 of the job array; a multiple of 10**digits,
                or 0 if `digits` equals `width`.
            digits: number of digits that come from SLURM's task number.
        """
        prefix = f"{base:0{width}d}"[: width - digits]
        return f"{self.path}/members/{self.array_id}.{prefix}"

    def read(self) -> tuple[dict[str, list[Any]], list[ArrayMember]]:
        """Read the axes and members from array.json.

        Raises:
            UserError: the file is missing or damaged.
        """
        record = read_json(self.array_json)
        try:
            if record["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}")
            axes = {str(field): list(values) for field, values in record["axes"].items()}
            members = [
                ArrayMember(int(each["index"]), self._run(each["run_id"]), dict(each["values"]))
                for each in record["members"]
            ]
            if [member.index for member in members] != list(range(len(members))):
                raise ValueError("its members are not numbered 0, 1, 2 ...")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(
                f"{self.array_json}: not an array: {error}; the file is damaged"
            ) from None
        return axes, members

    def _run(self, run_id: object) -> RunDirectory:
        name = str(run_id)
        if _index_in(name) is None or "/" in name:
            raise ValueError(f"not the id of a member: {name[:80]!r}")
        return RunDirectory(self.path / "members" / name)

    @classmethod
    def of_member(cls, run: RunDirectory) -> tuple[ArrayDirectory, int] | None:
        """The array that a run belongs to, and its index there; None: it is not a member."""
        index = _index_in(run.run_id)
        folder = run.path.parent
        if index is None or folder.name != "members":
            return None
        array = cls(folder.parent)
        return (array, index) if array.array_json.is_file() else None


def member_id(array_id: str, index: int, width: int) -> str:
    """Return the run id of a member: `<array-id>.003`."""
    return f"{array_id}.{index:0{width}d}"


def index_width(members: int) -> int:
    """Number of digits of the indices of an array: at least three."""
    return max(3, len(str(members - 1)))


def _index_in(name: str) -> int | None:
    head, _, digits = name.rpartition(".")
    return int(digits) if head and digits.isdecimal() and 3 <= len(digits) <= 6 else None


def is_owned_by_array(name: str) -> bool:
    """Whether an entry in the directory of an array was made by the launcher, not by the user."""
    return name in _OWNED or _SCRIPT.fullmatch(name) is not None or is_code_diff(name)
