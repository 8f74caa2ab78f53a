"""A Python that has imported everything, and forks programs on request.

    fork_server.py DESCRIPTOR PADDING

DESCRIPTOR is a socket. A message on it carries four descriptors: a socket of the new process, and
its standard streams. That socket brings the request as JSON up to its end, and takes the number of
the process back, and later its status as waitpid gives it, 8 bytes each. PADDING is the room for
the command of a process in /proc/PID/cmdline. The server ends when DESCRIPTOR is closed.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import selectors
import socket
import sys
from typing import Any

ENVIRONMENT = dict(os.environ)
"""As it was given: some imports add to it."""
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # the libraries start no threads, which a fork would not have

import fork_child  # noqa: E402

HEAVY = (
    "lightning.pytorch.loggers",
    "torch._dynamo",
    "torch.distributed.run",
    "torch.nn.parallel",
    "torch.optim.lr_scheduler",
    "torchmetrics",
)
"""What the programs import late, beside our own modules and what those import."""


def preload() -> None:
    """Import what a rank, the launcher and their tools use."""
    for name in HEAVY:
        importlib.import_module(name)
    for package in ("ptycho_dist", "launcher"):
        home = importlib.import_module(package)
        for module in pkgutil.walk_packages(home.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def serve(requests: socket.socket) -> None:
    """Fork until nobody can ask any more."""
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is requests:
                _, descriptors, _, _ = socket.recv_fds(requests, 1, 4)
                if not descriptors:
                    return
                own, *streams = descriptors
                pid, answer = start(socket.socket(fileno=own), streams)
                ended = os.pidfd_open(pid)
                selector.register(ended, selectors.EVENT_READ, (pid, answer))
            else:
                selector.unregister(key.fileobj)
                os.close(key.fd)
                tell_end(*key.data)


def start(answer: socket.socket, streams: list[int]) -> tuple[int, socket.socket]:
    """Read a request and fork."""
    with answer.makefile("rb") as file:
        asked: dict[str, Any] = json.load(file)
    program = fork_child.Program.of(asked["command"])
    assert program is not None
    pid = fork_child.fork_program(
        program,
        fork_child.Surroundings(
            environment=asked["environment"],
            directory=asked["directory"],
            import_from=asked["import_from"],
            streams=tuple(streams),
            new_session=asked["new_session"],
        ),
    )
    for stream in streams:
        os.close(stream)
    answer.sendall(pid.to_bytes(8, "big"))
    return pid, answer


def tell_end(pid: int, answer: socket.socket) -> None:
    """The child has ended: its status goes to whoever asked for it, if that is still there."""
    _, status = os.waitpid(pid, 0)
    with answer:
        try:
            answer.sendall(status.to_bytes(8, "big"))
        except OSError:
            return


if __name__ == "__main__":
    preload()
    threads = fork_child.threads_of_this_process()
    assert threads == 1, f"the fork server has {threads} threads"
    fork_child.let_children_be_forks(ENVIRONMENT)
    serve(socket.socket(fileno=int(sys.argv[1])))
