"""What a cluster says of itself and of what a person may do there, typed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from launcher.slurm.units import duration_s, whole

_UNUSABLE = ("down", "drain", "drng", "fail", "futu", "inval", "unk", "no_resp")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition as `scontrol show partition` tells of it; None: no such limit."""

    name: str
    words: Mapping[str, str] = field(default_factory=dict)
    """All that SLURM says of it."""

    @property
    def default(self) -> bool:
        return self.words.get("Default") == "YES"

    @property
    def hidden(self) -> bool:
        return self.words.get("Hidden") == "YES"

    @property
    def root_only(self) -> bool:
        return self.words.get("RootOnly") == "YES"

    @property
    def state(self) -> str:
        return self.words.get("State", "UP")

    @property
    def qos(self) -> str | None:
        """The QOS whose limits hold in it."""
        return _name(self.words.get("QoS"))

    @property
    def max_time_s(self) -> int | None:
        return duration_s(self.words.get("MaxTime", ""))

    @property
    def max_nodes(self) -> int | None:
        return whole(self.words.get("MaxNodes", ""))

    @property
    def min_nodes(self) -> int:
        return whole(self.words.get("MinNodes", "")) or 0

    @property
    def max_cpus_per_node(self) -> int | None:
        return whole(self.words.get("MaxCPUsPerNode", ""))

    @property
    def max_mem_per_node_mb(self) -> int | None:
        return whole(self.words.get("MaxMemPerNode", ""))

    @property
    def max_mem_per_cpu_mb(self) -> int | None:
        return whole(self.words.get("MaxMemPerCPU", ""))

    def allowed(self, what: str) -> frozenset[str] | None:
        """Who may use it, of `Accounts`, `Groups` or `Qos`; None: all."""
        return names_of(self.words.get(f"Allow{what}"))

    def denied(self, what: str) -> frozenset[str]:
        """Who may not."""
        return (names_of(self.words.get(f"Deny{what}")) or frozenset()) - {"none"}


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes of one partition that are alike, in one state."""

    partition: str
    count: int
    state: str
    cpus: int
    memory_mb: int
    gpus: int
    gpu_types: tuple[str, ...]
    features: frozenset[str]
    names: str
    reason: str

    @property
    def usable(self) -> bool:
        """Whether a job may start there, now or when others have left."""
        return not (self.state.startswith(_UNUSABLE) or self.state.endswith("*"))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an association or a QOS allows."""

    source: str
    """In words: `QOS long`."""
    values: Mapping[str, int]
    """`MaxWall` (seconds), `MaxJobs`, `MaxSubmit`; of resources `MaxTRES:node`, `GrpTRES:gres/gpu`,
    `MaxTRESPerNode:cpu`, `MaxTRESPU:mem` (MB), `MinTRES:cpu`."""


@dataclass(frozen=True, kw_only=True)
class Association:
    """The tie of a user, or of a whole account (no user), to an account."""

    cluster: str
    account: str
    user: str
    partition: str
    qos: frozenset[str]
    default_qos: str
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Qos:
    """A quality of service."""

    name: str
    flags: frozenset[str]
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job of this user that is not over."""

    state: str
    account: str
    qos: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What `sbatch --test-only` said."""

    starts_at: datetime | None
    """In local time."""
    nodes: str
    refusal: str
    """Empty: it would be taken."""


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """What was found out; what could not be is empty, and `unknown` says why."""

    asked_at: datetime
    user: str
    groups: frozenset[str] | None
    """None: root, whom no list of groups keeps out."""
    config: Mapping[str, str] = field(default_factory=dict)
    partitions: tuple[Partition, ...] = ()
    nodes: tuple[NodeGroup, ...] = ()
    associations: tuple[Association, ...] = ()
    """This user's on this cluster, then those of the account that is charged."""
    qos: Mapping[str, Qos] = field(default_factory=dict)
    default_account: str = ""
    queue: tuple[QueuedJob, ...] = ()
    trial: Trial | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    """`config`, `partitions`, `nodes`, `accounts`, `queue` or `trial` → why it is not known."""

    @property
    def keeps_accounts(self) -> bool:
        """Whether there is a database of accounts and their limits."""
        return "slurmdbd" in self.config.get("AccountingStorageType", "slurmdbd")

    def enforces(self, what: str) -> bool:
        """Whether `associations`, `limits` or `qos` hold here; so where nobody says."""
        enforced = self.config.get("AccountingStorageEnforce", "all").lower()
        implied = {"associations": ("assoc", "limits", "qos", "safe", "wckeys", "all")}
        signs = implied.get(what, (what, "safe", "all") if what == "limits" else (what, "all"))
        return any(sign in enforced for sign in signs)


def _name(text: str | None) -> str | None:
    return None if text is None or text in ("", "N/A", "(null)") else text


def names_of(text: str | None) -> frozenset[str] | None:
    """Names between commas; None: none are given, or all are meant."""
    if text is None or text in ("", "ALL", "(null)", "N/A"):
        return None
    return frozenset(name.strip() for name in text.split(",") if name.strip())
