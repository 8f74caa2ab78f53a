"""Attempts: one record per start of a run, each with a token that fences off the ones before.

The batch script calls these functions at both ends of `srun` (`python -m ptycho_dist.rundir`),
the local cluster does the same. Either is the only writer of the attempt's record.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.errors import EXIT_RUN_FAILED, EXIT_STOPPED, UserError
from ptycho_dist.rundir.files import json_bytes, read_json, write_bytes_atomic, write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

ATTEMPT_VARIABLE = "PTYCHO_DIST_ATTEMPT"
PORTS = range(15_000, 30_000)
"""Below the ports that the kernel hands out by itself (32768 and up on Linux)."""


@dataclass(frozen=True)
class Attempt:
    """What every rank of an attempt must know; travels in one environment variable."""

    number: int
    token: str
    host: str
    """Where rank 0 opens its store: an address or a name that the other nodes can resolve."""
    port: int

    def to_variable(self) -> str:
        """The value of PTYCHO_DIST_ATTEMPT: JSON on one line, without spaces."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_variable(cls, text: str) -> Attempt:
        """Read PTYCHO_DIST_ATTEMPT.

        Raises:
            UserError: it is not what `to_variable` wrote.
        """
        try:
            data = json.loads(text)
            return cls(
                int(data["number"]), str(data["token"]), str(data["host"]), int(data["port"])
            )
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{ATTEMPT_VARIABLE} is not an attempt: {text!r}") from None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Attempt:
        """Of what `read_attempts` gives."""
        return cls(record["number"], record["token"], record["host"], record["port"])


def begin_attempt(
    run: RunDirectory,
    *,
    job_id: str,
    cluster: str,
    nodes: list[str],
    host: str | None = None,
    step: str | None = None,
) -> Attempt:
    """Record a new start; from here on no earlier attempt may commit anything.

    Args:
        run: its directory.
        job_id: of SLURM, or the text of the LocalProcess that answers for the run.
        cluster: `slurm` or `local`.
        nodes: their names, in the order of ranks.
        host: where rank 0 opens its store; None: the address of this node.
        step: SLURM's number of the job step, by which its other ranks find the attempt.
    """
    host = host or rendezvous_host()
    token = secrets.token_hex(8)
    number = max(map(_number, run.attempts.glob("[0-9]*.json")), default=0)
    while True:
        number += 1
        attempt = Attempt(number, token, host, free_port())
        record = {
            **asdict(attempt),
            "job_id": job_id,
            "cluster": cluster,
            "nodes": nodes,
            "step": step,
            "cause": _cause(number),
            "started_at": time.time(),
            "ended_at": None,
            "exit_code": None,
            "outcome": None,
        }
        draft = run.attempts / f".{token}.tmp"
        write_bytes_atomic(draft, json_bytes(record))
        try:
            # A link appears whole, and fails where another start was quicker.
            os.link(draft, run.attempts / f"{number:03d}.json")
        except FileExistsError:
            continue
        finally:
            draft.unlink()
        return attempt


def end_attempt(run: RunDirectory, number: int, exit_code: int) -> int:
    """Record how an attempt ended, and return the exit code of the job.

    `exit_code` is that of srun, which kills the ranks that are still leaving when the first
    one has left: a stop on which all ranks had agreed can look like a kill. What the ranks
    committed to the ledger decides.
    """
    path = run.attempts / f"{number:03d}.json"
    record = read_json(path)
    ranks = run.world().ranks
    stopped = {e["writer"] for e in read_ledger(run, number) if e["event"] == "stopped"}
    if run.result_json.exists():  # rank 0 writes it when the last epoch is committed
        outcome = "finished"
    elif exit_code != 0 and len(stopped) == ranks:
        outcome = "stopped"
    else:
        outcome = "failed"
    record |= {"ended_at": time.time(), "exit_code": exit_code, "outcome": outcome}
    write_json_atomic(path, record)
    codes = {"finished": 0, "stopped": EXIT_STOPPED}
    return codes.get(outcome, exit_code or EXIT_RUN_FAILED)


def read_attempts(run: RunDirectory) -> list[dict[str, Any]]:
    """The records of all attempts, oldest first."""
    return [read_json(path) for path in sorted(run.attempts.glob("[0-9]*.json"), key=_number)]


def holds_the_run(run: RunDirectory, attempt: Attempt) -> bool:
    """Whether no later attempt has begun: to be asked before every commit."""
    newest = max(run.attempts.glob("[0-9]*.json"), key=_number, default=None)
    return newest is not None and read_json(newest).get("token") == attempt.token


def _number(path: Path) -> int:
    """By value, not by text: 1000.json comes after 999.json."""
    return int(path.stem)


def rendezvous_host() -> str:
    """The address of this node that the other nodes of the job can resolve.

    SLURM knows where it reaches a node (NodeAddr), even where its name is in no DNS; asked
    for on the batch host, which is the node of rank 0. Without scontrol (containers) the
    aliases SLURM hands down, then the node's name, then the host's.
    """
    node = os.environ.get("SLURMD_NODENAME", "")
    if not node:
        return "127.0.0.1"
    if shutil.which("scontrol"):
        try:
            shown = subprocess.run(
                ["scontrol", "--oneliner", "show", "node", node],
                capture_output=True, text=True, timeout=10, check=True,
            ).stdout  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            shown = ""
        for word in shown.split():
            if word.startswith("NodeAddr=") and word != "NodeAddr=":
                return word.removeprefix("NodeAddr=")
    for alias in os.environ.get("SLURM_NODE_ALIASES", "").split(","):
        name, _, address = alias.partition(":")
        if name == node and address:
            return address.partition(":")[0]
    return node if _resolves(node) else socket.gethostname()


def slurm_nodes() -> list[str]:
    """The nodes of SLURM's job, in the order of ranks; none outside of one."""
    if "SLURM_JOB_NODELIST" not in os.environ:
        return []
    from submitit.slurm.slurm import SlurmJobEnvironment

    return list(SlurmJobEnvironment().hostnames)


def free_port() -> int:
    """A port of PORTS on which nothing listens now; two jobs on one node draw different ones."""
    for port in random.sample(PORTS, 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise UserError(f"no free port among 50 drawn from {PORTS.start}-{PORTS.stop - 1}")


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _cause(number: int) -> str:
    if int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0) > 0:
        return "requeue"
    return "submit" if number == 1 else "resume"
