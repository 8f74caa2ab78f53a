"""Ports, loopback addresses and locks that two clusters on one host never share.

A lock is a bound socket in Linux's abstract namespace. It holds for the whole host and all users,
the kernel releases it however its process ends, and it leaves no file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import socket
import time
from collections.abc import Iterator

FIRST_PORT = 20000
PORTS_PER_SLOT = 50  # slurmctld, slurmdbd and up to MAX_NODES slurmd
SLOTS = 200  # 20000-29999: below the ports that Linux gives to connections (from 32768)
MAX_NODES = 40


class LockHeldError(Exception):
    """Another process holds the lock."""


class NoSlotError(Exception):
    """No block of ports is free."""


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Where the daemons of one cluster listen."""

    slot: int
    controller_address: str
    controller_port: int
    database_port: int
    node_addresses: tuple[str, ...]
    node_ports: tuple[int, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        """All TCP ports of the cluster."""
        return (self.controller_port, self.database_port, *self.node_ports)


def endpoints_of(slot: int, nodes: int) -> Endpoints:
    """The ports and addresses that belong to one slot."""
    first_port = FIRST_PORT + slot * PORTS_PER_SLOT
    network = f"127.100.{slot}"
    return Endpoints(
        slot=slot,
        controller_address=f"{network}.1",
        controller_port=first_port,
        database_port=first_port + 1,
        node_addresses=tuple(f"{network}.{11 + index}" for index in range(nodes)),
        node_ports=tuple(first_port + 2 + index for index in range(nodes)),
    )


@contextlib.contextmanager
def host_lock(name: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the host-wide lock `name`; LockHeldError if it is not free within `wait_s`."""
    deadline = time.monotonic() + wait_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
        while True:
            try:
                holder.bind(f"\0ptycho-dist-cluster/{name}")
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise LockHeldError(name) from error
            time.sleep(0.1)
        yield


@contextlib.contextmanager
def reserve(nodes: int, preferred: str) -> Iterator[Endpoints]:
    """Find a slot whose ports are all free, and lock it until the block ends.

    The daemons bind their ports inside the block; from then on the bound ports show that the slot
    is taken. `preferred` (any text) determines where the search starts.
    """
    start = int(hashlib.sha256(preferred.encode()).hexdigest(), 16) % SLOTS
    for offset in range(SLOTS):
        slot = (start + offset) % SLOTS
        endpoints = endpoints_of(slot, nodes)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(host_lock(f"slot/{slot}"))
            except LockHeldError:
                continue
            if all(_is_free(port) for port in endpoints.ports):
                yield endpoints
                return
    raise NoSlotError(
        f"no free block of ports between {FIRST_PORT} and {FIRST_PORT + SLOTS * PORTS_PER_SLOT}"
    )


def _is_free(port: int) -> bool:
    """Whether the port is free on all addresses, because SLURM's daemons listen on all of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
