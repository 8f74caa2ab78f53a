"""The device is resolved on the rank (LP-016, EC-040 to EC-046, POLICY-001).

There is no GPU: torch's answers about GPUs are replaced, and nothing else.
"""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from ptycho_dist.errors import UserError
from ptycho_dist.runtime.accelerator import resolve_device


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count, name="GPU {}", first=0):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: name.format(index))
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda index: SimpleNamespace(uuid=f"uuid-{first + index}"),
        )
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    for variable in ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_TASK"):
        monkeypatch.delenv(variable, raising=False)
    return pretend


def resolve(accelerator, local_rank, tasks):
    return resolve_device(accelerator, local_rank=local_rank, tasks_per_node=tasks, ranks=tasks)


@pytest.mark.effect("execution.accelerator")
def test_auto_takes_the_gpu_of_its_local_rank(gpus):
    """EC-041: all GPUs of the node are visible to each rank."""
    gpus(4)
    devices = [resolve("auto", rank, 4) for rank in range(4)]
    assert [(d.kind, d.index, d.backend, d.identity) for d in devices] == [
        ("cuda", rank, "nccl", f"uuid-{rank}") for rank in range(4)
    ]
    assert devices[3].torch == torch.device("cuda", 3)


@pytest.mark.parametrize("accelerator", ["auto", "cuda"])
def test_each_rank_that_sees_one_gpu_alone_takes_it(gpus, monkeypatch, accelerator):
    """EC-042: with `--gpus-per-task=1` SLURM says that the node has a GPU for each task."""
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for rank in range(4):
        gpus(1, first=rank)
        device = resolve(accelerator, rank, 4)
        assert (device.kind, device.index, device.identity) == ("cuda", 0, f"uuid-{rank}")


def test_one_gpu_that_may_be_the_same_for_all_ranks_is_refused(gpus, monkeypatch):
    """EC-042: torch has no uuids, and SLURM does not say that each rank has its own GPU."""
    gpus(1)
    assert resolve("cuda", 1, 2).identity == "uuid-0"  # compared when the ranks join
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace())
    for rank in range(2):
        with pytest.raises(UserError, match=r"2 ranks of this node see one GPU each.*newer torch"):
            resolve("cuda", rank, 2)
    assert resolve("cuda", 0, 1).kind == "cuda"
    monkeypatch.setenv("SLURM_GPUS_PER_TASK", "1")
    assert resolve("cuda", 1, 2).kind == "cuda"


@pytest.mark.parametrize("count", [0, 1])
def test_auto_falls_back_for_all_ranks_of_a_node_alike(gpus, count):
    """EC-045"""
    gpus(count)
    for rank in range(2):
        with pytest.warns(UserWarning, match=f"POLICY-001: {count} GPUs are visible"):
            assert resolve("auto", rank, 2).kind == "cpu"


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(gpus, accelerator):
    """EC-046"""
    gpus(2)
    assert resolve(accelerator, 0, 3).kind == "cuda"
    with pytest.raises(UserError, match="task 2 of its node and 2 GPUs are visible"):
        resolve(accelerator, 2, 3)
    gpus(0)
    with pytest.raises(UserError, match=r"0 GPUs are visible \(CUDA_VISIBLE_DEVICES='unset'\)"):
        resolve(accelerator, 0, 1)


@pytest.mark.parametrize("by", ["name", "variable"])
def test_a_mig_slice_cannot_join_several_ranks(gpus, monkeypatch, by):
    """EC-043"""
    if by == "name":
        gpus(2, name="NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    else:
        gpus(2)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-12ab,MIG-34cd")
    assert resolve("auto", 0, 1).kind == "cuda"
    for accelerator in ("auto", "cuda"):
        with pytest.raises(UserError, match=r"MIG slice .*cannot join 2 ranks"):
            resolve(accelerator, 0, 2)


def test_mps_is_for_one_rank(gpus, monkeypatch):
    """EC-043"""
    gpus(0)
    with pytest.raises(UserError, match="mps is not available"):
        resolve("mps", 0, 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve("mps", 0, 1).kind == "mps"
    assert resolve("auto", 0, 1).kind == "mps"
    with pytest.raises(UserError, match="mps cannot join 2 ranks"):
        resolve("mps", 0, 2)
    with pytest.warns(UserWarning, match="POLICY-001"):
        assert resolve("auto", 0, 2).kind == "cpu"
    assert resolve("cpu", 0, 1).kind == "cpu"


@pytest.mark.parametrize(
    ("there", "words"), [(False, "is not installed"), (True, "does not run on TPUs")]
)
def test_tpu_is_refused_with_the_reason(gpus, monkeypatch, there, words):
    """EC-044"""
    gpus(0)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: (object() if there else None) if name == "torch_xla" else found(name),
    )
    with pytest.raises(UserError, match=f"torch_xla.*{words}"):
        resolve("tpu", 0, 1)
