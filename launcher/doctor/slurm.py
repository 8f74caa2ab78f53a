"""Describes the SLURM of this machine in the words of its own commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from launcher.slurm.scontrol import ping, read_config, show_config
from ptycho_dist.attempts.bounded_command import Answer, run_command

TIMEOUT_S = 10.0
COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo", "sacct", "sacctmgr")
SETTINGS = (
    "AccountingStorageType", "AccountingStorageEnforce", "JobRequeue", "PreemptType",
    "PreemptMode", "PreemptParameters", "MaxArraySize", "MaxJobCount", "ProctrackType",
    "TaskPlugin", "KillWait", "OverTimeLimit", "SelectType", "SelectTypeParameters", "GresTypes",
    "SchedulerType", "EnforcePartLimits", "JobSubmitPlugins", "LaunchParameters", "PrologFlags",
    "MpiDefault", "DefMemPerNode", "DefMemPerCPU", "MaxMemPerNode", "MinJobAge",
    "UnkillableStepTimeout", "ReturnToService",
)  # fmt: skip
"""The settings of `scontrol show config` on which a run depends. No other is reported."""
MOST_LINES = 100
MOST_BYTES = 2**20
"""Limit for one command: its output is searched for secrets, which takes time."""


def begin_slurm_report(pool: Executor) -> Callable[[], dict[str, Any]]:
    """Start all of SLURM's commands, and return a function that waits for the report."""
    where = {command: shutil.which(command) for command in COMMANDS}
    if not any(where.values()):
        return lambda: {"commands": "none on PATH"}

    def begin(*command: str) -> Future[Answer]:
        return pool.submit(run_command, command, TIMEOUT_S, most_bytes=MOST_BYTES)

    version = begin("sbatch" if where["sbatch"] else "sinfo", "--version")
    controller = pool.submit(ping, TIMEOUT_S)
    config = pool.submit(show_config, TIMEOUT_S)
    partitions = begin("sinfo", "--noheader", "--format=%P %a, %l, %D nodes %T, %c CPUs, %m MB, %G")
    features = begin("sinfo", "--noheader", "--format=%f")
    accounting = begin("sacct", "--noheader", "-X", "--format=JobID", "--starttime=now")

    def report() -> dict[str, Any]:
        return {
            "commands": {name: path or "not on PATH" for name, path in where.items()},
            "version": _said(version.result()),
            "controller": _said(controller.result()),
            "settings": _settings(config.result()),
            "partitions": _lines(partitions.result()),
            "features": _lines(features.result()),
            "sacct": accounting.result().trouble or "answers",
        }

    return report


def _settings(answer: Answer) -> dict[str, str] | str:
    """The settings that matter, name → value; or why there are none."""
    if answer.trouble:
        return answer.trouble
    found = read_config(answer.text)
    known = {name: found[name] for name in SETTINGS if name in found}
    return known or "no known setting in its answer"


def _said(answer: Answer) -> str:
    return answer.trouble or "; ".join(answer.text.split("\n")).strip("; ")


def _lines(answer: Answer) -> list[str] | str:
    """The different lines of an answer; or one text, if there is no answer or it is empty."""
    if answer.trouble:
        return answer.trouble
    lines = sorted({line.strip() for line in answer.text.splitlines() if line.strip()})
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"and {len(lines) - MOST_LINES} more"]
    return lines or "none"
