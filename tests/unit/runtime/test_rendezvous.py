"""The comparison of the hellos of all ranks (EC-042, RD-034, RD-038)."""

import json

import pytest
import torch.distributed as dist

from ptycho_dist.runtime.rendezvous import Hello, _disagreement


def hello(rank, gpu="", node="node1", **must_agree):
    return Hello(rank, node, None, {"torch": "2.13", **must_agree}, {}, gpu)


def test_two_ranks_on_one_gpu_are_refused_by_name():
    """EC-042: of three ranks that see one GPU each, two see the same one."""
    store = dist.HashStore()
    ranks = [hello(0, "GPU-a"), hello(1, "GPU-b"), hello(2, "GPU-a")]
    line, table = _disagreement(ranks, store)
    assert line.startswith("ranks 0 and 2 on node1 have the same GPU (GPU-a)")
    assert table == ""
    assert _disagreement([*ranks[:2], hello(2, "GPU-c")], store) == ("", "")
    assert _disagreement([hello(0), hello(1)], store) == ("", "")  # the CPU is for all


@pytest.mark.parametrize("ranks", [3, 1000])
def test_configs_are_compared_by_field_and_bounded_in_length(ranks):
    """RD-038"""
    store = dist.HashStore()
    for rank in range(ranks):
        values = {f"training.f{n:02d}": str(n if rank else -n) for n in range(1, 30)}
        store.set(f"config/{rank}", json.dumps(values))
    hellos = [hello(rank, node=f"node{rank}", config=str(min(rank, 1))) for rank in range(ranks)]
    line, table = _disagreement(hellos, store)
    assert line.startswith("the ranks differ: training.f01: rank 0 on node0 has -1, ranks 1")
    assert "training.f08" in line
    assert "training.f09" not in line
    assert line.endswith("; and 21 more")
    assert "training.f29" in table
    assert len(line) < 1000
