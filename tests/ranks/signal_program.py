"""Two forked ranks that step together and stop by signals, over and over: a line of JSON a stop.

    signal_program.py DELIVERIES SEED

The parent has imported everything; the ranks use DDP, StopRequest and Agreement as a run does. It
signals one rank or both, with random skew, at random moments, and kills them all if a stop takes
longer than LIMIT_S.
"""

import json
import os
import random
import select
import signal
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.stop import StopRequest

LIMIT_S = 30
RANKS = 2


def step_until_stopped(rank, port, said, heard):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    store = dist.TCPStore("127.0.0.1", port, RANKS, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    model = DistributedDataParallel(torch.nn.Linear(8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    agreement, step = Agreement(RANKS), 0
    while True:
        stop = StopRequest()
        stop.install()
        os.write(said, b"go\n")
        while True:
            optimizer.zero_grad()
            model(torch.randn(4, 8)).square().sum().backward()
            optimizer.step()
            step += 1
            if agreement.turn(stop.requested)[0]:
                break
        for number in (signal.SIGUSR2, signal.SIGTERM):  # what comes late belongs to this stop
            signal.signal(number, signal.SIG_IGN)
        agreement.now(False)
        os.write(said, f"{step} {stop.reason}\n".encode())
        if os.read(heard, 1) != b"n":
            os._exit(0)


def line_of(pipes):
    """One line from each rank, or None: it takes too long."""
    lines, deadline = [], time.monotonic() + LIMIT_S
    for pipe in pipes:
        text = b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            text += os.read(pipe, 1)
        lines.append(text.decode().split())
    return lines


def main(deliveries, seed):
    generator = random.Random(seed)
    port = 15_000 + os.getpid() % 10_000
    ranks, said, heard = [], [], []
    for rank in range(RANKS):
        (said_out, said_in), (heard_out, heard_in) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            step_until_stopped(rank, port, said_in, heard_out)
        ranks.append(child)
        said.append(said_out)
        heard.append(heard_in)
    try:
        for delivery in range(deliveries):
            assert line_of(said) == [["go"]] * RANKS
            time.sleep(generator.uniform(0, 0.02))
            first = generator.randrange(RANKS)
            number = generator.choice((signal.SIGUSR2, signal.SIGTERM))
            os.kill(ranks[first], number)
            both = generator.random() < 0.7
            if both:
                time.sleep(generator.choice((0, generator.uniform(0, 0.01))))
                os.kill(ranks[1 - first], number)
            stops = line_of(said)
            hung = stops is None
            steps = [] if hung else [int(step) for step, _ in stops]
            print(json.dumps({"hung": hung, "steps": steps, "both": both}), flush=True)
            if hung:
                return
            for pipe in heard:
                os.write(pipe, b"n" if delivery + 1 < deliveries else b"q")
    finally:
        for rank in ranks:
            os.kill(rank, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
