"""What SLURM's commands print, as typed facts. Pure; any text is taken, however damaged.

The plain text of old and new SLURM alike: `--json` came with 21.08, its shape changes from release
to release, and it needs a plugin that sites leave out.
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
from launcher.slurm.units import duration_s, memory_mb, whole

NODE_FORMAT = "%R|%D|%T|%c|%m|%G|%f|%N|%E"
"""Of sinfo; the reason comes last, as it may hold anything."""


def read_facts(
    said: Mapping[str, str],
    unknown: Mapping[str, str],
    *,
    user: str,
    groups: frozenset[str] | None,
    asked_at: datetime,
) -> ClusterFacts:
    """All that the commands told.

    Args:
        said: by what was asked, what was printed: `config`, `partitions`, `nodes`, `accounts`
            (the user's associations), `account` (that of the charged account), `user`, `qos`,
            `queue`, `trial`. What is missing is unknown.
        unknown: what could not be asked, and why.
        user: who asks.
        groups: of the user; None: root.
        asked_at: local time.
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
    """`sinfo --all --exact --noheader --format=NODE_FORMAT`."""
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
    """`gpu:2`, `gpu:a100:4(S:0-1),gpu:a30:2`, `gpu:no_consume:4`: type → number."""
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = item.strip().split(":")
        if name != "gpu":
            continue
        # a type may begin with a digit, or be one: `gpu:1g.5gb`, `gpu:6000:8`
        counted = rest[-1:] and re.fullmatch(r"[0-9]{1,9}", rest[-1])
        kind = ":".join(rest[:-1] if counted else rest).replace("no_consume", "").strip(":")
        yield kind, int(rest[-1]) if counted else 1


def read_associations(text: str) -> tuple[Association, ...]:
    """`sacctmgr --parsable2 show assoc`, by the names of its columns, which old SLURM has fewer
    of."""
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
    """`sacctmgr --parsable2 show qos`: by name."""
    found = {}
    for row in named_rows(text):
        if name := row.get("Name"):
            flags = names_of(row.get("Flags")) or frozenset()
            found[name] = Qos(name=name, flags=flags, limits=_limits(f"QOS {name}", row))
    return found


def read_default_account(text: str) -> str:
    """`sacctmgr --parsable2 show user`; empty where there is none."""
    return next((row.get("Def Acct", "") for row in named_rows(text)), "")


_START = re.compile(r"to start at (\S+)(?:.* on (?:nodes )?(\S+))?")


def read_trial(text: str) -> Trial:
    """`sbatch --test-only`, standard output and error together."""
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
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
    return found if 2000 <= found.year < 2200 else None  # beyond, zones cannot be reckoned


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
