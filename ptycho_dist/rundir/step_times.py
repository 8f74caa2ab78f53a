"""Where the time of each step went, as each rank recorded it: `metrics/steps/NNN-rank-NNNNN.jsonl`.

One file of JSON lines per attempt and rank, never fsynced. The figures are for people; no decision
about data depends on them, and readers treat them as untrusted input.

A line is an object with a `kind`: `rank` (the rank and its start-up, once), `block` (the time of
some steps) or `usage` (memory and device; the newest line counts).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ptycho_dist.rundir.checked_json import amount, count
from ptycho_dist.rundir.layout import RunDirectory

PHASES = (
    "data",
    "forward_backward",
    "reduction",
    "optimizer",
    "checkpoint",
    "validation",
    "framework",
)
"""Parts of a rank's training time; each moment belongs to exactly one part.

data: waiting for a batch and moving it to the device. reduction: the end of the backward pass,
after the last gradient of this rank is ready: the wait for other ranks and for the transfer.
validation: includes the pictures of `recon_log_*`. framework: the rest, such as bookkeeping and
Lightning's loops.
"""
START_UP = ("imports", "rendezvous", "staging", "opening", "first_batch")
"""Parts of a rank's time from the start of its process to its first batch, in this order.

imports: importing torch and Lightning. rendezvous: joining the other ranks. staging: copying the
data. opening: opening data, network and checkpoint, and fixing DDP's buckets. first_batch: waiting
for the first batch.
"""


@dataclass(frozen=True)
class Block:
    """One or more optimizer steps in a row; blocks begin and end at the same steps on all ranks."""

    first_step: int
    """Number of optimizer steps of the whole run before this block."""
    steps: int
    """Number of optimizer steps in this block."""
    samples: int
    """Number of samples that this rank used."""
    ended_at: float
    """Seconds since the epoch, by the clock of this node."""
    wall_s: float
    """Duration since the end of the previous block, or since the start of training."""
    parts_s: dict[str, float]
    """Seconds in each of PHASES; their sum is `wall_s`."""


@dataclass(frozen=True)
class RankTimes:
    """The records of one rank in one attempt."""

    rank: int
    """Global rank."""
    node: str = ""
    """Name of its node."""
    machine: str = ""
    """Identity of the operating system; several nodes of a test cluster may share it."""
    cores: int = 0
    """Number of cores of the machine; 0: unknown."""
    threads: int = 0
    """Number of threads that the rank uses."""
    device: str = ""
    """Its device, in words."""
    started_at: float | None = None
    """When its process began, in seconds since the epoch."""
    start_up_s: dict[str, float] = field(default_factory=dict)
    """Seconds in each part of START_UP that was reached."""
    blocks: tuple[Block, ...] = ()
    """Its blocks, in order of their steps."""
    host_peak_bytes: int | None = None
    """Peak memory of the process; None: unknown."""
    device_peak_bytes: int | None = None
    """Peak memory on the device; None: unknown."""
    gpu_utilisation: float | None = None
    """Mean utilisation of the GPU, 0 to 1; None: unknown."""


# --- writing -----------------------------------------------------------------------------------


def block_length(done: int) -> int:
    """Return how many optimizer steps the next block covers; equal on all ranks.

    1 step per block for the first hundred steps, then 10, from a thousand steps on 100, and so on,
    which keeps the files small.

    Args:
        done: number of optimizer steps that the attempt has done.
    """
    return 1 if done < 100 else int(10 ** (len(str(done)) - 2))


class TimesWriter:
    """Writes the file of one rank in one attempt; lines that the disk refuses are lost."""

    def __init__(self, run: RunDirectory, attempt: int, rank: int) -> None:
        self._path = _folder(run) / f"{attempt:03d}-rank-{rank:05d}.jsonl"
        self._torn = False

    def put(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append one line per record."""
        text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        if self._torn:  # the last write may have left part of a line
            text = "\n" + text
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._torn = True
            with self._path.open("ab") as file:
                file.write(text.encode())
            self._torn = False
        except OSError:
            pass


def block_record(block: Block) -> dict[str, Any]:
    """Return the record of a block."""
    parts_s = {phase: round(seconds, 6) for phase, seconds in block.parts_s.items()}
    rounded = {"ended_at": round(block.ended_at, 4), "wall_s": round(block.wall_s, 6)}
    return {"kind": "block", **asdict(block), **rounded, "parts_s": parts_s}


# --- reading -----------------------------------------------------------------------------------

MOST_BYTES = 2**23
"""How much of a file is read: some hundred times what a rank writes."""
MOST_RANKS = 2**17


def read_step_times(run: RunDirectory, attempt: int) -> dict[int, RankTimes]:
    """Read the records of an attempt by rank; files and lines that no rank writes are skipped.

    The texts of `RankTimes` are short and printable, but untrusted: escape them in HTML and
    markup. Every number is finite and not negative.
    """
    prefix = f"{attempt:03d}-rank-"
    try:
        paths = sorted(_folder(run).glob(f"{prefix}*.jsonl"))[:MOST_RANKS]
    except OSError:
        return {}
    times = {}
    for path in paths:
        digits = path.stem.removeprefix(prefix)
        if len(digits) >= 5 and digits.isascii() and digits.isdecimal() and len(digits) < 10:
            times[int(digits)] = _read(path, int(digits))
    return times


def _folder(run: RunDirectory) -> Path:
    return run.metrics / "steps"


def _read(path: Path, rank: int) -> RankTimes:
    times, blocks, end = RankTimes(rank), [], 0
    try:
        if not path.is_file():  # reading a pipe would block
            return times
        with path.open("rb") as file:
            lines = file.read(MOST_BYTES).split(b"\n")[:-1]
    except OSError:
        return times
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        kind = record.get("kind") if isinstance(record, dict) else None
        if kind == "rank":
            times = replace(times, **_rank_facts(record))
        elif kind == "usage":
            times = replace(times, **_usage(record))
        elif kind == "block":
            block = _block(record)
            if block is not None and block.first_step >= end:
                blocks.append(block)
                end = block.first_step + block.steps
    return replace(times, blocks=tuple(blocks))


def _rank_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    start_up = record.get("start_up_s")
    spent = start_up if isinstance(start_up, dict) else {}
    seconds = {part: amount(spent, part) for part in START_UP}
    return {
        "node": _text(record, "node"),
        "machine": _text(record, "machine"),
        "cores": count(record, "cores") or 0,
        "threads": count(record, "threads") or 0,
        "device": _text(record, "device"),
        "started_at": amount(record, "started_at"),
        "start_up_s": {part: s for part, s in seconds.items() if s is not None},
    }


def _usage(record: Mapping[str, Any]) -> dict[str, Any]:
    share = amount(record, "gpu_utilisation")
    return {
        "host_peak_bytes": count(record, "host_peak_bytes"),
        "device_peak_bytes": count(record, "device_peak_bytes"),
        "gpu_utilisation": share if share is not None and share <= 1 else None,
    }


def _block(record: Mapping[str, Any]) -> Block | None:
    first, steps, samples = (count(record, name) for name in ("first_step", "steps", "samples"))
    ended_at, wall_s = amount(record, "ended_at"), amount(record, "wall_s")
    spent = record.get("parts_s")
    if not isinstance(spent, dict) or first is None or samples is None or not steps:
        return None
    parts = {phase: amount(spent, phase) for phase in PHASES}
    whole = {phase: seconds for phase, seconds in parts.items() if seconds is not None}
    if ended_at is None or wall_s is None or len(whole) < len(PHASES):
        return None
    return Block(first, steps, samples, ended_at, wall_s, whole)


def _text(record: Mapping[str, Any], name: str) -> str:
    """A short printable text; empty: the entry is not one."""
    value = record.get(name)
    return value if isinstance(value, str) and len(value) < 256 and value.isprintable() else ""
