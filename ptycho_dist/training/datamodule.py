"""The data of a run on one rank, and the position in it, which every checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World, world_of
from ptycho_dist.data.loader import Position, RankBatchSampler, make_loader
from ptycho_dist.data.opening import open_training_groups, open_validation_groups
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.errors import DataError


class PtychoData(LightningDataModule):
    """Training data of one rank, and validation data if the config names some."""

    def __init__(
        self, config: RunConfig, world: World, rank: int, worker_init: Callable[[int], None]
    ) -> None:
        """Read and check the data files.

        Args:
            config: names the files, as this node has them.
            world: counts of ranks and samples, as the plan fixed them.
            rank: this rank.
            worker_init: called in each loader worker; see `make_loader`.

        Raises:
            DataError: a file is not what the data contract promises, or has another detector
                size than `model.N`.
        """
        super().__init__()
        self._config = config
        self._worker_init = worker_init
        self._rank = rank
        self._world = world
        data = config.data
        self.train = open_training_groups(
            data.train_data_file, data, config.model, config.training.nphotons
        )
        self.test = None
        if data.test_data_file is not None:
            self.test = open_validation_groups(
                data.test_data_file, data, config.model, config.training.nphotons
            )
        found = world_of(config, self.train.n_patterns)
        if found != world:
            raise DataError(
                f"{data.train_data_file}: gives {found.total_steps} steps of {found.samples} "
                f"samples an epoch, the plan has {world.total_steps} of {world.samples}; "
                "submit a new run"
            )
        self.train_sampler = self._sampler(len(self.train), config.training.sequential_sampling)
        self.position = Position()
        """The current epoch and how much of it is done; updated by the run's callback."""

    @property
    def ranks(self) -> int:
        """The number of ranks."""
        return self._world.ranks

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the training batches from the current position on."""
        self.train_sampler.start = replace(self.position)
        return self._loader(self.train, self.train_sampler)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return the loader of this rank's share of the test samples; an empty list without any."""
        if self.test is None:
            return []
        return self._loader(self.test, self._sampler(len(self.test), sequential=True))

    def state_dict(self) -> dict[str, int]:
        """Return the position, for the checkpoint."""
        return asdict(self.position)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore the position; Lightning calls this before it asks for the loaders."""
        self.position = Position(**{name: int(value) for name, value in state_dict.items()})

    def _sampler(self, n_samples: int, sequential: bool) -> RankBatchSampler:
        return RankBatchSampler(
            n_samples,
            batch_size=self._world.batch_size,
            rank=self._rank,
            ranks=self._world.ranks,
            seed=self._config.training.seed,
            sequential=sequential,
        )

    def _loader(self, dataset: GroupDataset, sampler: RankBatchSampler) -> DataLoader[Any]:
        config = self._config
        return make_loader(
            dataset, sampler, config.execution, config.training.seed, self._worker_init
        )


def data_of(trainer: Trainer) -> PtychoData:
    """Return the data of a trainer, with its own type."""
    data: PtychoData = trainer.datamodule  # type: ignore[attr-defined]
    return data
