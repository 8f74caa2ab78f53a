"""A Python that has imported everything, and forks programs on request.

    fork_server.py LIFE DOOR PADDING

DOOR is the descriptor of a listening socket, with a connection for each process: the length of the
request (8 bytes) together with the three standard streams, and the request as JSON; back come the
number of the process (0: it cannot be a fork) and later its status as waitpid gives it, 8 bytes
each. Who hangs up before
the end has the process killed. PADDING is the room for the command of a process in
/proc/PID/cmdline. The server ends when nobody holds the other end of the socket LIFE.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import selectors
import signal
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
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "torch._dynamo",
    "torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks",
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


class Server:
    """Forks, and tells each asker how its fork ended."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def serve(self, life: socket.socket, door: socket.socket) -> None:
        """Answer until nobody can ask any more."""
        self._selector.register(life, selectors.EVENT_READ, lambda: sys.exit(0))
        self._selector.register(door, selectors.EVENT_READ, lambda: self._start(door.accept()[0]))
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _start(self, asker: socket.socket) -> None:
        first, streams, _, _ = socket.recv_fds(asker, 8, 3)
        if len(first) < 8:
            asker.close()
            return
        request = asker.recv(int.from_bytes(first, "big"), socket.MSG_WAITALL)
        pid = fork_if_possible(json.loads(request), streams)
        for stream in streams:
            os.close(stream)
        asker.sendall(pid.to_bytes(8, "big"))
        if pid == 0:
            asker.close()
            return
        ended = os.pidfd_open(pid)
        self._selector.register(ended, selectors.EVENT_READ, lambda: self._end(pid, ended, asker))
        self._selector.register(asker, selectors.EVENT_READ, lambda: self._hung_up(pid, asker))

    def _end(self, pid: int, ended: int, asker: socket.socket) -> None:
        """The fork has ended; its status goes to the asker, if that is still there."""
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(ended)
        os.close(ended)
        if asker.fileno() != -1:
            self._selector.unregister(asker)
            with contextlib.suppress(OSError):
                asker.sendall(status.to_bytes(8, "big"))
            asker.close()

    def _hung_up(self, pid: int, asker: socket.socket) -> None:
        """The asker was killed: so is what it stood for."""
        self._selector.unregister(asker)
        asker.close()
        os.kill(pid, signal.SIGKILL)  # not waited for yet: the number is still its own


def fork_if_possible(asked: dict[str, Any], streams: list[int]) -> int:
    """The number of the fork; 0: it has to be started anew."""
    environment = asked["environment"]
    program = fork_child.Program.of(asked["command"])
    if program is None or not fork_child.same_interpreter(environment, ENVIRONMENT):
        return 0
    surroundings = fork_child.Surroundings(
        environment=environment,
        directory=asked["directory"],
        import_from=fork_child.added_folders(environment, ENVIRONMENT),
        streams=(streams[0], streams[1], streams[2]),
        new_session=asked["new_session"],
    )
    return fork_child.fork_program(program, surroundings)


if __name__ == "__main__":
    preload()
    threads = fork_child.threads_of_this_process()
    assert threads == 1, f"the fork server has {threads} threads"
    fork_child.let_children_be_forks(ENVIRONMENT)
    Server().serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:3]))
