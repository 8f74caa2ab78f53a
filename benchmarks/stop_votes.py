"""Measure what an agreement on a stop costs per optimizer step, with and without waiting.

    python benchmarks/stop_votes.py [--ranks 2] [--steps 300] [--rounds 10]

Forked gloo ranks train a small convolutional network under DDP. The methods take turns in one run,
in blocks of steps. The output is the median time of a step for each method, and its ratio to a step
without any agreement.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ptycho_dist.attempts.attempt import free_port
from ptycho_dist.runtime.agreement import Agreement


def broadcast_flag() -> None:
    """Do what Lightning does before each micro-batch (`_broadcast_sigterm_tensor`)."""
    flag = torch.tensor([0])
    dist.broadcast(flag, src=0)
    flag.item()


def ways(agreement: Agreement) -> dict[str, Callable[[], object]]:
    """Return the action after each step by the name of the method."""
    return {
        "nothing": lambda: None,
        "votes that travel with the next step": lambda: agreement.turn(False, False),
        "a reduction that is waited for": lambda: agreement.any(False),
        "the same, and Lightning's broadcast": lambda: (agreement.any(False), broadcast_flag()),
    }


def measure(rank: int, port: int, options: argparse.Namespace) -> None:
    """Run one rank; rank 0 prints."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    store = dist.TCPStore("127.0.0.1", port, options.ranks, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=options.ranks)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.GELU(), torch.nn.Conv2d(16, 1, 3, padding=1)
    )
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters())
    agreement = Agreement(options.ranks)
    patterns = torch.randn(4, 1, 64, 64)
    seconds: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, agree in ways(agreement).items():
            for step in range(options.steps):
                began = time.perf_counter()
                optimizer.zero_grad()
                model(patterns).square().mean().backward()
                optimizer.step()
                agree()
                if step:  # the first step of a block includes waiting for the other ranks
                    seconds.setdefault(name, []).append(time.perf_counter() - began)
            agreement.now(False, False)
    if rank == 0:
        plain = statistics.median(seconds["nothing"])
        print(f"{options.ranks} ranks, {options.rounds} rounds of {options.steps} steps each")
        for name, times in seconds.items():
            median = statistics.median(times)
            print(f"{name:40s} {1e3 * median:7.3f} ms a step   {median / plain:5.3f} ×")


def main() -> None:
    """Fork the ranks and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    port = free_port()
    for rank in range(options.ranks):
        if os.fork() == 0:
            measure(rank, port, options)
            os._exit(0)
    for _ in range(options.ranks):
        os.wait()


if __name__ == "__main__":
    main()
