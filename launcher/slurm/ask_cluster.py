"""Asks the live cluster what it has and what this user may do there.

Nothing is submitted. If a command is missing, refuses or does not answer, the facts that it would
have given are unknown, and the reason is kept with the facts.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from launcher.slurm import printed
from launcher.slurm.cluster_facts import ClusterFacts
from launcher.slurm.scontrol import show_config, show_partitions
from launcher.slurm.squeue import ask_own_jobs
from ptycho_dist.attempts.bounded_command import Answer, run_command

TIMEOUT_S = 15


def ask_cluster(script: str, account: str | None) -> ClusterFacts:
    """Ask for all facts that a check of a run needs; the questions run in parallel.

    Args:
        script: the text that would be submitted.
        account: the account that the run names; None: the default one of the user.
    """
    user = _user()
    questions: dict[str, Callable[[], Answer]] = {
        "config": lambda: show_config(TIMEOUT_S),
        "partitions": lambda: show_partitions(TIMEOUT_S),
        "nodes": lambda: _ask(
            "sinfo", "--all", "--exact", "--noheader", f"--format={printed.NODE_FORMAT}"
        ),
        "accounts": lambda: _show("assoc", "where", f"user={user}"),
        "user": lambda: _show("user", user),
        "qos": lambda: _show("qos"),
        "queue": lambda: ask_own_jobs(TIMEOUT_S),
        # sbatch reads the script from its standard input, so no file is written for it
        "trial": lambda: _ask("sbatch", "--test-only", stdin=script),
    }
    with ThreadPoolExecutor(len(questions)) as pool:
        pending = {what: pool.submit(question) for what, question in questions.items()}
        answers = {what: each.result() for what, each in pending.items()}
    unknown = {what: answer.trouble for what, answer in answers.items() if answer.trouble}

    said = {what: answer.text for what, answer in answers.items() if not answer.trouble}
    charged = account or printed.read_default_account(said.get("user", ""))
    if charged and "accounts" in said:
        # The limits of a whole account are in the row of the account, not in those of its users.
        shared = _show("assoc", "where", f"account={charged}", "user=")
        said["account"] = "" if shared.trouble else shared.text
    trial = answers["trial"]
    if trial.code is not None:  # a refusal is an answer, too
        said["trial"] = f"{trial.text}\n{trial.complaint}"
        unknown.pop("trial", None)
    return printed.read_facts(
        said,
        unknown,
        user=user,
        groups=_groups(),
        asked_at=datetime.now(),  # local time, as sbatch says when a job would start
    )


def _ask(*command: str, stdin: str = "") -> Answer:
    return run_command(command, TIMEOUT_S, stdin=stdin)


def _show(*what: str) -> Answer:
    return _ask("sacctmgr", "--parsable2", "show", *what)


def node_hosts(partition: str) -> frozenset[str]:
    """The host names of the nodes of a partition; empty if SLURM does not say."""
    answer = _ask("sinfo", "--noheader", f"--partition={partition}", "--format=%n")
    return frozenset() if answer.trouble else frozenset(answer.text.split())


def slurm_version() -> str:
    """The version of SLURM on this machine; empty if there is none."""
    answer = _ask("sinfo", "--version")
    return "" if answer.trouble else answer.text.strip()


def this_host() -> frozenset[str]:
    """The names under which SLURM may know this machine as a node."""
    name = socket.gethostname()
    return frozenset({name, name.partition(".")[0], "localhost"})


def _user() -> str:
    """The name of this user in the user database; USER and LOGNAME may name somebody else."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _groups() -> frozenset[str] | None:
    """The groups of this user; None: root, who belongs to every group."""
    if os.getuid() == 0:
        return None
    names = set()
    for number in {os.getgid(), *os.getgroups()}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            names.add(str(number))
    return frozenset(names)
