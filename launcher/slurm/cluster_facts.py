"""Facts about a cluster and about what a user may do there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from launcher.slurm.units import duration_s, whole

_UNUSABLE = ("down", "drain", "drng", "fail", "futu", "inval", "unk", "no_resp")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition, as `scontrol show partition` describes it. A limit of None is no limit."""

    name: str
    words: Mapping[str, str] = field(default_factory=dict)
    """Name → value of everything that SLURM says about it."""

    @property
    def default(self) -> bool:
        """Whether jobs that name no partition go here."""
        return self.words.get("Default") == "YES"

    @property
    def hidden(self) -> bool:
        """Whether the site does not list it by default."""
        return self.words.get("Hidden") == "YES"

    @property
    def root_only(self) -> bool:
        """Whether only root may submit to it."""
        return self.words.get("RootOnly") == "YES"

    @property
    def state(self) -> str:
        """`UP`, `DOWN`, `DRAIN` or `INACTIVE`."""
        return self.words.get("State", "UP")

    @property
    def qos(self) -> str | None:
        """The QOS whose limits apply to all jobs in it."""
        return _name(self.words.get("QoS"))

    @property
    def max_time_s(self) -> int | None:
        """Longest walltime in seconds."""
        return duration_s(self.words.get("MaxTime", ""))

    @property
    def max_nodes(self) -> int | None:
        """Most nodes of one job."""
        return whole(self.words.get("MaxNodes", ""))

    @property
    def min_nodes(self) -> int:
        """Fewest nodes of one job."""
        return whole(self.words.get("MinNodes", "")) or 0

    @property
    def max_cpus_per_node(self) -> int | None:
        """Most CPUs that a job may use on one node."""
        return whole(self.words.get("MaxCPUsPerNode", ""))

    @property
    def max_mem_per_node_mb(self) -> int | None:
        """Most memory that a job may use on one node, in MB."""
        return whole(self.words.get("MaxMemPerNode", ""))

    @property
    def max_mem_per_cpu_mb(self) -> int | None:
        """Most memory for each CPU, in MB; SLURM adds CPUs to jobs that ask for more."""
        return whole(self.words.get("MaxMemPerCPU", ""))

    def allowed(self, what: str) -> frozenset[str] | None:
        """Which of the `Accounts`, `Groups` or `Qos` may use it; None: all."""
        return names_of(self.words.get(f"Allow{what}"))

    def denied(self, what: str) -> frozenset[str]:
        """Which of the `Accounts` or `Qos` may not use it."""
        return (names_of(self.words.get(f"Deny{what}")) or frozenset()) - {"none"}


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes of one partition with the same equipment and in the same state."""

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
        """Whether a job may start there, now or when other jobs have ended."""
        return not (self.state.startswith(_UNUSABLE) or self.state.endswith("*"))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of an association or of a QOS."""

    source: str
    """Whose limits these are, in words: `QOS long`."""
    values: Mapping[str, int]
    """Name → value: `MaxWall` (seconds), `MaxJobs`, `MaxSubmit`; and of resources `MaxTRES:node`,
    `GrpTRES:gres/gpu`, `MaxTRESPerNode:cpu`, `MaxTRESPU:mem` (MB), `MinTRES:cpu`."""


@dataclass(frozen=True, kw_only=True)
class Association:
    """An association: the right of a user to use an account, with limits.

    The association of an account as a whole has an empty user.
    """

    cluster: str
    account: str
    user: str
    partition: str
    qos: frozenset[str]
    default_qos: str
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Qos:
    """A quality of service of SLURM: a set of limits and flags."""

    name: str
    flags: frozenset[str]
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job of this user that is waiting or running."""

    state: str
    account: str
    qos: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The answer of `sbatch --test-only`."""

    starts_at: datetime | None
    """When the job would start, in local time; None: SLURM does not say."""
    nodes: str
    refusal: str
    """Why the job would be refused; empty: it would be accepted."""


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """All facts of a check. What could not be found out is empty, and `unknown` says why."""

    asked_at: datetime
    user: str
    groups: frozenset[str] | None
    """Groups of the user; None: root, whom no list of groups excludes."""
    config: Mapping[str, str] = field(default_factory=dict)
    partitions: tuple[Partition, ...] = ()
    nodes: tuple[NodeGroup, ...] = ()
    associations: tuple[Association, ...] = ()
    """Associations of this user on this cluster, then those of the account that is charged."""
    qos: Mapping[str, Qos] = field(default_factory=dict)
    default_account: str = ""
    queue: tuple[QueuedJob, ...] = ()
    trial: Trial | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    """`config`, `partitions`, `nodes`, `accounts`, `queue` or `trial` → why it is unknown."""

    @property
    def keeps_accounts(self) -> bool:
        """Whether the cluster has a database of accounts and their limits."""
        return "slurmdbd" in self.config.get("AccountingStorageType", "slurmdbd")

    def enforces(self, what: str) -> bool:
        """Whether `associations`, `limits` or `qos` are enforced; True if SLURM does not say."""
        enforced = self.config.get("AccountingStorageEnforce", "all").lower()
        implied = {"associations": ("assoc", "limits", "qos", "safe", "wckeys", "all")}
        signs = implied.get(what, (what, "safe", "all") if what == "limits" else (what, "all"))
        return any(sign in enforced for sign in signs)


def _name(text: str | None) -> str | None:
    return None if text is None or text in ("", "N/A", "(null)") else text


def names_of(text: str | None) -> frozenset[str] | None:
    """The names in a list with commas; None: the list is empty, or means all."""
    if text is None or text in ("", "ALL", "(null)", "N/A"):
        return None
    return frozenset(name.strip() for name in text.split(",") if name.strip())
