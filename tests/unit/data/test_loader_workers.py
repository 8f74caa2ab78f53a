"""Loader workers outlive the signals that stop their rank (RS-014)."""

import os
import signal

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.loader import RankBatchSampler, make_loader


class SignalsItself:
    """Each batch is read by a process that sends the stop signals to itself first."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        for number in (signal.SIGUSR2, signal.SIGTERM):
            os.kill(os.getpid(), number)
        return os.getpid()

    @staticmethod
    def collate(processes):
        return processes


def test_a_worker_that_is_signalled_goes_on_reading():
    sampler = RankBatchSampler(4, batch_size=1, rank=0, ranks=1, seed=0, sequential=True)
    execution = PyTorchExecutionConfig(num_workers=1)
    loader = make_loader(SignalsItself(), sampler, execution, 0, lambda worker: None)
    processes = {process for batch in loader for process in batch}
    assert len(processes) == 1
    assert os.getpid() not in processes
