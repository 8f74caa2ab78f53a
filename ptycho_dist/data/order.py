"""Decide which sample is used when and by which rank, in pure functions without torch.

The order of an epoch depends only on (seed, epoch), never on the number of ranks. It is cut into
micro-batches of `batch_size × ranks` consecutive samples, and each rank takes one contiguous share
of each. The last micro-batch of an epoch may be ragged: it is shared unequally, and a rank may get
nothing, but no sample is dropped or repeated (specs/run_directory.md, RD-050).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def epoch_order(n_samples: int, *, seed: int, epoch: int, sequential: bool) -> NDArray[np.int64]:
    """Return the order in which an epoch uses its samples.

    Args:
        n_samples: Number of samples of the run.
        seed: `training.seed`.
        epoch: Number of the epoch, counted from 0.
        sequential: Whether to use scan order instead of a permutation drawn from (seed, epoch).

    Returns:
        (n_samples,) int64, with each of 0..n_samples−1 once.
    """
    if sequential:
        return np.arange(n_samples, dtype=np.int64)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    return generator.permutation(n_samples).astype(np.int64)


def rank_share(count: int, *, rank: int, ranks: int) -> tuple[int, int]:
    """Return the half-open range [start, stop) of `count` consecutive samples that `rank` takes.

    Shares differ by at most one sample; the first ranks take the longer ones.
    """
    base, longer = divmod(count, ranks)
    start = rank * base + min(rank, longer)
    return start, start + base + (rank < longer)


def micro_batches(
    n_samples: int, *, batch_size: int, ranks: int, first_sample: int = 0
) -> Iterator[tuple[int, int]]:
    """Yield the half-open range of positions in the epoch order of each micro-batch of all ranks.

    Args:
        n_samples: Number of samples of the run.
        batch_size: Samples per rank and micro-batch.
        ranks: World size.
        first_sample: First position; a resumed epoch skips the samples that are done.
    """
    width = batch_size * ranks
    for start in range(first_sample, n_samples, width):
        yield start, min(start + width, n_samples)


def samples_of_step(
    n_samples: int,
    *,
    batch_size: int,
    ranks: int,
    accum_steps: int,
    micro_batch: int,
    first_sample: int = 0,
    first_batch: int = 0,
) -> int:
    """Count the samples that all ranks use in the optimizer step that contains a micro-batch.

    Args:
        n_samples: Number of samples of the run.
        batch_size: Samples per rank and micro-batch.
        ranks: World size.
        accum_steps: Micro-batches per optimizer step.
        micro_batch: Number of the micro-batch in the epoch.
        first_sample: Position at which this world began the epoch; an optimizer step begins there.
        first_batch: Number of the micro-batch at that position.
    """
    width = batch_size * ranks * accum_steps
    start = first_sample + (micro_batch - first_batch) // accum_steps * width
    return min(n_samples - start, width)
