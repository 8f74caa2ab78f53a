"""Stand where an interpreter stands in a job: have the fork server run the command.

    forking_python.py SOCKET PYTHON ARGUMENT...

SLURM starts a rank by a command, so the process that it knows is this one. It passes signals on to
the fork, and ends as that ends; when it is killed, the server kills the fork. What the server does
not fork, PYTHON itself runs in the place of this process.
"""

import contextlib
import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(address: str, python: str, *arguments: str) -> None:
    command = [python, *arguments]
    request = {
        "command": command,
        "environment": dict(os.environ),
        "directory": os.getcwd(),  # noqa: PTH109 (this process is to begin quickly)
        "new_session": False,
    }
    text = json.dumps(request).encode()
    early = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(text)
    pid = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big")
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, early)
        os.execv(python, command)

    def pass_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, early)
    said = server.recv(8, socket.MSG_WAITALL)
    status = int.from_bytes(said, "big") if len(said) == 8 else 255 << 8
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main(*sys.argv[1:])
