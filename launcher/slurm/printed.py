"""Turns what SLURM's commands print into facts. Pure; any text is accepted, however damaged.

The plain text is parsed because old and new SLURM print it alike. `--json` exists only since 21.08,
changes from release to release, and needs a plugin that sites leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from launcher.slurm.cluster_facts import (
    Association,
    ClusterFacts,
    Limits,
    NodeGroup,
    Qos,
    Trial,
    names_of,
)
from launcher.slurm.scontrol import read_config, read_partitions
from launcher.slurm.squeue import read_own_jobs
from launcher.slurm.tables import named_rows, rows
from launcher.slurm.units import duration_s, whole
from ptycho_dist.attempts.slurm_job import slurm_time
from ptycho_dist.config.resources import memory_mb

_YEAR_2000_S, _YEAR_2200_S = 946_684_800, 7_258_118_400
"""Starts outside of these years mean that there is no start (`0001-01-01`)."""
NODE_FORMAT = "%R|%D|%T|%c|%m|%G|%f|%N|%E"
"""Columns of sinfo. The reason is the last one, because it may contain any character."""


def read_facts(
    said: Mapping[str, str],
    unknown: Mapping[str, str],
    *,
    user: str,
    groups: frozenset[str] | None,
    asked_at: datetime,
) -> ClusterFacts:
    """Turn the answers of all commands into facts.

    Args:
        said: question → what was printed. The questions are `config`, `partitions`, `nodes`,
            `accounts` (associations of the user), `account` (association of the charged account),
            `user`, `qos`, `queue` and `trial`. The answer to a missing question is unknown.
        unknown: question → why there is no answer.
        user: the user who asks.
        groups: groups of the user; None: root.
        asked_at: when the questions were asked, in local time.
    """
    config = read_config(said.get("config", ""))
    here = config.get("ClusterName")
    rows = read_associations(said.get("accounts", "")) + read_associations(said.get("account", ""))
    return ClusterFacts(
        asked_at=asked_at,
        user=user,
        groups=groups,
        config=config,
        partitions=read_partitions(said.get("partitions", "")),
        nodes=read_nodes(said.get("nodes", "")),
        associations=tuple(each for each in rows if here in (None, each.cluster)),
        qos=read_qos(said.get("qos", "")),
        default_account=read_default_account(said.get("user", "")),
        queue=read_own_jobs(said.get("queue", "")),
        trial=read_trial(said["trial"]) if "trial" in said else None,
        unknown=unknown,
    )


def read_nodes(text: str) -> tuple[NodeGroup, ...]:
    """Read `sinfo --all --exact --noheader --format=NODE_FORMAT`."""
    found = []
    for partition, count, state, cpus, memory, gres, features, names, reason in rows(text, 9):
        gpus = list(_gpus(gres))
        found.append(
            NodeGroup(
                partition=partition,
                count=whole(count) or 0,
                state=state.lower(),
                cpus=whole(cpus) or 0,
                memory_mb=whole(memory) or 0,
                gpus=sum(number for _, number in gpus),
                gpu_types=tuple(dict.fromkeys(kind for kind, _ in gpus if kind)),
                features=names_of(features) or frozenset(),
                names=names,
                reason="" if reason == "none" else reason,
            )
        )
    return tuple(found)


def _gpus(gres: str) -> Iterator[tuple[str, int]]:
    """Type and number of each GPU in `gpu:2`, `gpu:a100:4(S:0-1),gpu:a30:2`, `gpu:no_consume:4`."""
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = item.strip().split(":")
        if name != "gpu":
            continue
        # A type may begin with a digit, or be a number: `gpu:1g.5gb`, `gpu:6000:8`.
        counted = rest[-1:] and re.fullmatch(r"[0-9]{1,9}", rest[-1])
        kind = ":".join(rest[:-1] if counted else rest).replace("no_consume", "").strip(":")
        yield kind, int(rest[-1]) if counted else 1


def read_associations(text: str) -> tuple[Association, ...]:
    """Read `sacctmgr --parsable2 show assoc`, by the names of its columns: old SLURM has fewer."""
    found = []
    for row in named_rows(text):
        account = row.get("Account", "")
        if not account:
            continue
        user = row.get("User", "")
        source = f"account {account}" if not user else f"your association with account {account}"
        found.append(
            Association(
                cluster=row.get("Cluster", ""),
                account=account,
                user=user,
                partition=row.get("Partition", ""),
                qos=names_of(row.get("QOS")) or frozenset(),
                default_qos=row.get("Def QOS", ""),
                limits=_limits(source, row),
            )
        )
    return tuple(found)


def read_qos(text: str) -> dict[str, Qos]:
    """Read `sacctmgr --parsable2 show qos`: name → QOS."""
    found = {}
    for row in named_rows(text):
        if name := row.get("Name"):
            flags = names_of(row.get("Flags")) or frozenset()
            found[name] = Qos(name=name, flags=flags, limits=_limits(f"QOS {name}", row))
    return found


def read_default_account(text: str) -> str:
    """Read the default account from `sacctmgr --parsable2 show user`; empty if there is none."""
    return next((row.get("Def Acct", "") for row in named_rows(text)), "")


_START = re.compile(r"to start at (\S+)(?:.* on (?:nodes )?(\S+))?")


def read_trial(text: str) -> Trial:
    """Read `sbatch --test-only`: standard output and standard error together."""
    refusals = []
    for line in text.splitlines():
        if match := _START.search(line):
            return Trial(starts_at=_local_time(match[1]), nodes=match[2] or "", refusal="")
        said = re.sub(r"^(sbatch: )?(error: )?(allocation failure: )?", "", line.strip())
        said = said.removeprefix("Batch job submission failed: ")
        if said and said not in refusals:
            refusals.append(said)
    return Trial(starts_at=None, nodes="", refusal="; ".join(refusals) or "no answer")


def _local_time(text: str) -> datetime | None:
    seconds = slurm_time(text)
    if seconds is None or not _YEAR_2000_S <= seconds < _YEAR_2200_S:
        return None
    return datetime.fromtimestamp(seconds)


_COUNTS = {
    "MaxJobs": ("MaxJobs", "MaxJobsPU"),
    "MaxSubmit": ("MaxSubmit", "MaxSubmitPU"),
}
_RESOURCES = ("GrpTRES", "MaxTRES", "MaxTRESPerNode", "MaxTRESPU", "MinTRES")


def _limits(source: str, row: Mapping[str, str]) -> Limits:
    values: dict[str, int] = {}
    if (wall := duration_s(row.get("MaxWall", ""))) is not None:
        values["MaxWall"] = wall
    for name, columns in _COUNTS.items():
        for column in columns:
            if (count := whole(row.get(column, ""))) is not None:
                values[name] = count
    for column in _RESOURCES:
        for item in row.get(column, "").split(","):
            resource, equals, amount = item.strip().partition("=")
            number = memory_mb(amount) if resource == "mem" else whole(amount)
            if equals and number is not None:
                values[f"{column}:{resource}"] = number
    return Limits(source=source, values=values)
