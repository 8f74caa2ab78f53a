"""Where the time of each step went, as each rank wrote it: `metrics/steps/NNN-rank-NNNNN.jsonl`.

One file per attempt and rank, lines of JSON, never fsynced: figures for people, on which nothing
that decides about data depends. A reader takes them as untrusted input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PHASES = (
    "data",
    "forward_backward",
    "reduction",
    "optimizer",
    "checkpoint",
    "validation",
    "framework",
)
"""Of a rank's time in training; each moment belongs to exactly one.

data: waiting for a batch, and moving it to the device. reduction: the end of the backward pass,
after the last gradient of this rank was ready: its wait for the other ranks and for the transfer.
validation: with the pictures of `recon_log_*`. framework: what is left, the launcher's own
bookkeeping and Lightning's loops.
"""
START_UP = ("imports", "rendezvous", "staging", "opening", "first_batch")
"""Of a rank's time from its process's start to its first batch, in this order: imports of torch and
Lightning; joining the others; copies of the data; opening data, network and checkpoint (settling
DDP's buckets included); waiting for the first batch."""


@dataclass(frozen=True)
class Block:
    """One optimizer step, or some in a row. Blocks begin and end at the same steps on all ranks."""

    first_step: int
    """Optimizer steps that were done before it, over the whole run."""
    steps: int
    samples: int
    """Used by this rank."""
    ended_at: float
    """Seconds since the epoch, by the clock of this node."""
    wall_s: float
    """From the end of the block before it (the first one: from the start of training)."""
    parts_s: dict[str, float]
    """Seconds in each of PHASES; together `wall_s`."""


@dataclass(frozen=True)
class RankTimes:
    """What one rank wrote in one attempt."""

    rank: int
    node: str = ""
    machine: str = ""
    """The same for all ranks that share one operating system; nodes of a cluster may."""
    cores: int = 0
    """That this machine has; 0: unknown."""
    threads: int = 0
    """That this rank computes with."""
    device: str = ""
    started_at: float | None = None
    """When its process began, in seconds since the epoch."""
    start_up_s: dict[str, float] = field(default_factory=dict)
    """Seconds in each of START_UP that was gone through."""
    blocks: tuple[Block, ...] = ()
    host_peak_bytes: int | None = None
    device_peak_bytes: int | None = None
    gpu_utilisation: float | None = None
    """Mean of the samples, 0 to 1; None: the machine does not tell."""
