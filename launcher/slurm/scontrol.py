"""`scontrol`: whether SLURM answers, and how the site has set it up."""

from __future__ import annotations

import shutil

from launcher.slurm.cluster_facts import Partition
from ptycho_dist.attempts.bounded_command import Answer, run_command
from ptycho_dist.attempts.slurm_job import scontrol_words
from ptycho_dist.errors import ClusterUnreachable

PING_TIMEOUT_S = 20
SETTINGS_TIMEOUT_S = 5
"""For notes on a plan, which can do without them."""
DEFAULT_MAX_ARRAY_SIZE = 1001


def require_slurm() -> None:
    """Check that a SLURM answers on this machine.

    Raises:
        ClusterUnreachable: its commands are not installed, or its controller does not answer.
    """
    for command in ("sbatch", "srun", "scontrol"):
        if shutil.which(command) is None:
            raise ClusterUnreachable(
                f"no SLURM here: {command} is not on PATH; load the site's module, "
                "or run on this machine with --cluster local"
            )
    answer = ping(PING_TIMEOUT_S)
    if " UP" not in answer.text:
        said = answer.trouble or answer.text.strip().partition("\n")[0] or "no answer"
        raise ClusterUnreachable(
            f"SLURM's controller does not answer (scontrol ping: {said}); check SLURM_CONF, "
            "or run on this machine with --cluster local"
        )


def ping(timeout_s: float) -> Answer:
    """Whether the controllers are up, in scontrol's words."""
    return run_command(["scontrol", "ping"], timeout_s)


def show_config(timeout_s: float) -> Answer:
    """SLURM's configuration, for `read_config`."""
    return run_command(["scontrol", "show", "config"], timeout_s)


def show_partitions(timeout_s: float) -> Answer:
    """All partitions, also hidden ones, for `read_partitions`."""
    return run_command(["scontrol", "--all", "--oneliner", "show", "partition"], timeout_s)


def read_config(text: str) -> dict[str, str]:
    """Name → value of each setting."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_partitions(text: str) -> tuple[Partition, ...]:
    """The partitions, one on each line."""
    found = []
    for line in text.splitlines():
        words = scontrol_words(line)
        if name := words.get("PartitionName"):
            found.append(Partition(name=name, words=words))
    return tuple(found)


def slurm_settings(partition: str | None) -> tuple[dict[str, str], dict[str, str]] | None:
    """The settings of SLURM and those of a partition, each by its name.

    Args:
        partition: its name; None: the default one.

    Returns:
        None if there is no SLURM here, or it does not answer at once. The second mapping is empty
        if there is no such partition.
    """
    config = show_config(SETTINGS_TIMEOUT_S)
    if config.trouble:
        return None
    for each in read_partitions(show_partitions(SETTINGS_TIMEOUT_S).text):
        if each.name == partition or (partition is None and each.default):
            return read_config(config.text), dict(each.words)
    return read_config(config.text), {}


def max_array_size() -> int:
    """How many tasks a job array may have; SLURM's own default if it does not say."""
    answer = show_config(SETTINGS_TIMEOUT_S)
    text = read_config(answer.text).get("MaxArraySize", "")
    return int(text) if text.isdecimal() else DEFAULT_MAX_ARRAY_SIZE
