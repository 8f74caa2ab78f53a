"""Asks the live cluster what it is and what this person may do there, each thing once.

Nothing is submitted. Each command is bounded in time, and one that is missing or refuses is a fact
of its own: what it would have told is unknown, and why.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from launcher.slurm import printed
from launcher.slurm.cluster_facts import ClusterFacts
from ptycho_dist.attempts.job_variables import clean_environment

TIMEOUT_S = 15
_QUERY_VARIABLES = ("SINFO_", "SQUEUE_", "SCONTROL_", "SACCTMGR_")


def ask_cluster(script: str, account: str | None) -> ClusterFacts:
    """All facts that a check of a run needs.

    Args:
        script: the text that would be submitted.
        account: that the run names.
    """
    user = _user()
    query = _query_environment()
    sacctmgr = ["sacctmgr", "--parsable2", "show"]
    commands: dict[str, tuple[list[str], dict[str, str], str]] = {
        "config": (["scontrol", "show", "config"], query, ""),
        "partitions": (["scontrol", "--all", "--oneliner", "show", "partition"], query, ""),
        "nodes": (
            ["sinfo", "--all", "--exact", "--noheader", f"--format={printed.NODE_FORMAT}"],
            query,
            "",
        ),
        "accounts": ([*sacctmgr, "assoc", "where", f"user={user}"], query, ""),
        "user": ([*sacctmgr, "user", user], query, ""),
        "qos": ([*sacctmgr, "qos"], query, ""),
        "queue": (
            [
                "squeue",
                "--noheader",
                "--array",
                f"--user={user}",
                f"--format={printed.QUEUE_FORMAT}",
            ],
            query,
            "",
        ),
        # in the environment of a submission, on its text: nothing is written for it
        "trial": (["sbatch", "--test-only"], clean_environment(os.environ), script),
    }
    with ThreadPoolExecutor(len(commands)) as pool:
        pending = {what: pool.submit(ask, *words) for what, words in commands.items()}
        answers = {what: each.result() for what, each in pending.items()}
    unknown = {what: answer.why for what, answer in answers.items() if answer.why}

    said = {what: answer.text for what, answer in answers.items() if not answer.why}
    charged = account or printed.read_default_account(said.get("user", ""))
    if charged and "accounts" in said:
        # limits of a group stand in the row of the account, not in the user's
        rows = ask([*sacctmgr, "assoc", "where", f"account={charged}", "user="], query)
        said["account"] = "" if rows.why else rows.text
    trial = answers["trial"]
    if trial.answered:  # a refusal is an answer
        said["trial"] = trial.text
        unknown.pop("trial", None)
    return printed.read_facts(
        said,
        unknown,
        user=user,
        groups=_groups(),
        asked_at=datetime.now(),  # local time, as sbatch says when a job would start
    )


def node_hosts(partition: str) -> frozenset[str]:
    """The host names of the nodes of a partition; empty where nobody says."""
    command = ["sinfo", "--noheader", f"--partition={partition}", "--format=%n"]
    return frozenset(ask(command, _query_environment()).text.split())


@dataclass(frozen=True)
class Answer:
    """What a command printed."""

    text: str
    why: str
    """Empty: it did what it was asked. Else why it did not."""
    answered: bool
    """It ran to its end, whatever it said."""


def ask(command: list[str], environment: Mapping[str, str], stdin: str = "") -> Answer:
    """Run a command of SLURM, bounded in time; it always gives an answer."""
    name = command[0]
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env=dict(environment),
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"{name} did not answer within {TIMEOUT_S} s", False)
    except FileNotFoundError:
        return Answer("", f"{name} is not on PATH", False)
    except OSError as error:
        return Answer("", f"{name} cannot be run here ({error.strerror})", False)
    text, said = done.stdout, done.stderr
    if done.returncode:
        first = (said.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        return Answer(f"{text}\n{said}", f"{name}: {first.removeprefix(f'{name}: ')}", True)
    return Answer(f"{text}\n{said}" if name == "sbatch" else text, "", True)


def this_host() -> frozenset[str]:
    """The names by which a node may turn out to be this machine."""
    name = socket.gethostname()
    return frozenset({name, name.partition(".")[0], "localhost"})


def _query_environment() -> dict[str, str]:
    """Without what a person set for their own eyes: SINFO_PARTITION, SLURM_TIME_FORMAT ..."""
    environment = clean_environment(os.environ)
    return {k: v for k, v in environment.items() if not k.startswith(_QUERY_VARIABLES)}


def _user() -> str:
    """By the system's own record: USER and LOGNAME may be another's."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _groups() -> frozenset[str] | None:
    if os.getuid() == 0:
        return None
    names = set()
    for number in {os.getgid(), *os.getgroups()}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            names.add(str(number))
    return frozenset(names)
