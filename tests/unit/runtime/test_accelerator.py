"""The device is resolved on the rank (LP-016, POLICY-001). A GPU cannot be had here: torch's
answers about GPUs are replaced, nothing else."""

import pytest
import torch

from ptycho_dist.errors import UserError
from ptycho_dist.runtime.accelerator import resolve_device


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


def resolve(accelerator, local_rank, tasks):
    return resolve_device(accelerator, local_rank=local_rank, tasks_per_node=tasks, ranks=tasks)


def test_auto_takes_the_gpu_of_its_local_rank(gpus):
    gpus(4)
    devices = [resolve("auto", rank, 4) for rank in range(4)]
    assert [(d.kind, d.index, d.backend) for d in devices] == [
        ("cuda", rank, "nccl") for rank in range(4)
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_auto_falls_back_for_all_ranks_of_a_node_alike(gpus, count):
    gpus(count)
    for rank in range(2):
        with pytest.warns(UserWarning, match=f"POLICY-001: {count} GPUs are visible"):
            assert resolve("auto", rank, 2).kind == "cpu"


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(gpus, accelerator):
    gpus(1)
    assert resolve(accelerator, 0, 2).kind == "cuda"
    with pytest.raises(UserError, match="task 1 of its node and 1 GPUs are visible"):
        resolve(accelerator, 1, 2)


def test_what_cannot_be(gpus, monkeypatch):
    gpus(0)
    with pytest.raises(UserError, match="torch_xla"):
        resolve("tpu", 0, 1)
    with pytest.raises(UserError, match="mps is not available"):
        resolve("mps", 0, 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve("mps", 0, 1).kind == "mps"
    with pytest.raises(UserError, match="mps cannot join 2 ranks"):
        resolve("mps", 0, 2)
    assert resolve("cpu", 0, 2).kind == "cpu"
