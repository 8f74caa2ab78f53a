"""The batches of one rank: its share of each micro-batch, starting anywhere in an epoch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.order import epoch_order, micro_batches, rank_share
from ptycho_dist.data.store import GroupDataset


@dataclass
class Position:
    """The progress of a run: the epoch, and how much of it is done."""

    epoch: int = 0
    micro_batch: int = 0
    """Number of micro-batches done in the epoch, of any size, as Lightning counts them."""
    sample: int = 0
    """Number of samples done by all ranks: the cursor in the order of the epoch."""


class RankBatchSampler(Sampler[list[int]]):
    """Yields the sample indices of one rank; a list may be empty in the last micro-batch.

    `len` includes the micro-batches that were done before a resume, as Lightning counts them.
    """

    def __init__(
        self, n_samples: int, *, batch_size: int, rank: int, ranks: int, seed: int, sequential: bool
    ) -> None:
        self._n_samples = n_samples
        self._batch_size = batch_size
        self._rank = rank
        self._ranks = ranks
        self._seed = seed
        self._sequential = sequential
        self.start = Position()
        """Position at which the next iteration begins."""

    @property
    def sampler(self) -> RankBatchSampler:
        """This object; Lightning looks for `set_epoch` on the batch sampler's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Start `epoch` at its first sample, unless it is the epoch of a resumed position."""
        if epoch != self.start.epoch:
            self.start = Position(epoch=epoch)

    def share(self, micro_batch: int) -> tuple[int, int]:
        """Return the half-open range of positions in the epoch order that this rank uses."""
        first = self._first(micro_batch)
        count = min(self._n_samples - first, self._batch_size * self._ranks)
        start, stop = rank_share(count, rank=self._rank, ranks=self._ranks)
        return first + start, first + stop

    def done_after(self, micro_batch: int) -> int:
        """Return how many samples of the epoch all ranks have used after this micro-batch."""
        return min(self._first(micro_batch + 1), self._n_samples)

    def _first(self, micro_batch: int) -> int:
        width = self._batch_size * self._ranks
        return self.start.sample + (micro_batch - self.start.micro_batch) * width

    def __len__(self) -> int:
        left = self._n_samples - self.start.sample
        return self.start.micro_batch + -(-left // (self._batch_size * self._ranks))

    def __iter__(self) -> Iterator[list[int]]:
        order = epoch_order(
            self._n_samples, seed=self._seed, epoch=self.start.epoch, sequential=self._sequential
        )
        for micro_batch, _ in enumerate(
            micro_batches(
                self._n_samples,
                batch_size=self._batch_size,
                ranks=self._ranks,
                first_sample=self.start.sample,
            ),
            start=self.start.micro_batch,
        ):
            start, stop = self.share(micro_batch)
            yield order[start:stop].tolist()


def make_loader(
    dataset: GroupDataset,
    sampler: RankBatchSampler,
    execution: PyTorchExecutionConfig,
    seed: int,
    worker_init: Callable[[int], None],
) -> DataLoader[Any]:
    """Make the loader of one rank, with a generator of its own instead of the global random state.

    Args:
        dataset: The groups of the scan.
        sampler: Yields the sample indices of this rank.
        execution: Options of the workers.
        seed: Seed of the loader's generator.
        worker_init: Called in each worker process with its number, before it reads anything.
    """
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=dataset.collate,
        num_workers=execution.num_workers,
        pin_memory=execution.pin_memory,
        persistent_workers=execution.persistent_workers,
        prefetch_factor=execution.prefetch_factor,
        worker_init_fn=_WorkerStart(worker_init) if execution.num_workers else None,
        generator=torch.Generator().manual_seed(seed),
    )


class _WorkerStart:
    """First call in a worker process; an object, so that spawned workers can unpickle it."""

    def __init__(self, then: Callable[[int], None]) -> None:
        self._then = then

    def __call__(self, worker: int) -> None:
        """Ignore stop signals: a dying worker would end its rank before the checkpoint."""
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._then(worker)
