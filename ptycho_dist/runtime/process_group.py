"""Torch's process group, opened on the store where the ranks have already met."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from datetime import timedelta

import torch.distributed as dist

from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.rendezvous import JoinedWorld

GUARD_FIRST_S = 60
"""Seconds by which a collective fails later than the guard, which can name the rank at fault."""
_SIOCGIFADDR = 0x8915
_ANY_PORT = 9


def open_process_group(
    environment: RankEnvironment, joined: JoinedWorld, backend: str, timeout_s: int
) -> None:
    """Open the default process group, which Lightning then finds and uses.

    Gloo would resolve the node's own name, which Debian maps to 127.0.1.1; ranks of other nodes
    would then connect to themselves and hang. GLOO_SOCKET_IFNAME is therefore set to the interface
    that leads to another node of the job, unless the site has set it.

    Args:
        environment: the place of this rank.
        joined: the complete world.
        backend: `gloo` or `nccl`.
        timeout_s: seconds after which the guard ends a rank that waits; a collective fails
            `GUARD_FIRST_S` later.
    """
    if joined.other_node is not None:
        interface = interface_towards(joined.other_node)
        if interface is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", joined.store),
        rank=environment.rank,
        world_size=environment.world_size,
        timeout=timedelta(seconds=timeout_s + GUARD_FIRST_S),
    )


def address_towards(host: str) -> str | None:
    """Return the IPv4 address with which this node reaches `host`; None: it cannot reach it."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, _ANY_PORT))  # sends nothing
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return None


def interface_towards(host: str) -> str | None:
    """Return the network interface by which this node reaches `host` (Linux); None: unknown."""
    own = address_towards(host)
    if own is None or own.startswith("127."):
        return None if own is None else "lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == own:
                return name
    return None
