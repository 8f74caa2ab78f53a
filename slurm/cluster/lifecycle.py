"""Starts a cluster, checks whether it is healthy, and takes it down."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shlex
import sys
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import config_files
import ports
import processes
from daemons import Daemons, StartError, command
from layout import Layout, Options

JOB_END_S = 3.0  # time of jobs between SIGTERM and SIGKILL when the cluster is taken down
KILL_S = 10.0


def say(text: str) -> None:
    """Print progress or a hint to stderr; stdout is only for the export lines."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def exports_text(layout: Layout) -> str:
    """The lines that a shell evaluates to use the cluster."""
    return "".join(f"export {k}={shlex.quote(v)}\n" for k, v in layout.exports.items())


def faults(layout: Layout) -> list[str]:
    """What is wrong with the cluster in this directory; empty if it is healthy."""
    state = layout.read_state()
    if not layout.exists() or state.get("phase") != "up":
        return ["it was never fully started"]
    running = {
        name for name, (pid, start) in state["daemons"].items() if processes.is_running(pid, start)
    }
    ended = sorted(set(state["daemons"]) - running)
    if ended or state["boot_id"] != processes.boot_id():
        return [f"{name} does not run" for name in ended] or ["the host was rebooted"]
    ping = command(layout, "sinfo", "--noheader", "--format=%T", limit_s=5)
    if ping.returncode != 0:
        return ["slurmctld does not answer"]
    if state["options"]["accounting"] and not _accounting_answers(layout):
        return ["slurmdbd does not answer"]
    # A drained node is not a fault; a node that does not respond (*) is.
    return ["a node does not respond"] if "*" in ping.stdout else []


def _accounting_answers(layout: Layout) -> bool:
    listing = command(layout, "sacctmgr", "--noheader", "list", "cluster", limit_s=5)
    return listing.returncode == 0 and bool(listing.stdout.strip())


def bring_up(layout: Layout, options: Options, limit_s: float) -> None:
    """Start everything and wait until it is healthy. The caller takes it down on any error."""
    began = time.monotonic()
    user = pwd.getpwuid(os.getuid()).pw_name
    names = config_files.node_names(options.nodes)
    layout.create(names)
    for index in range(options.gpus_per_node):
        # gres.conf accepts only character devices; a link to one needs no privileges.
        (layout.devices / f"nvidia{index}").symlink_to("/dev/null")
    with ports.reserve(options.nodes, preferred=layout.digest) as endpoints:
        state: dict[str, Any] = {
            "phase": "starting",
            "boot_id": processes.boot_id(),
            "options": dataclasses.asdict(options),
            "endpoints": dataclasses.asdict(endpoints),
            "runtime_dir": str(layout.runtime_dir),
            "daemons": {},
        }
        layout.write_state(state)

        def record(name: str, pid: int, start_time: int) -> None:
            if name != "mariadb-install":
                state["daemons"][name] = [pid, start_time]
                layout.write_state(state)

        _write(layout.slurm_conf, config_files.slurm_conf(layout, endpoints, options, user))
        _write(layout.gres_conf, config_files.gres_conf(layout, options))
        daemons = Daemons(layout, user, began + limit_s, record)
        daemons.munged()
        if options.accounting:
            say("creating the database")
            _write(layout.slurmdbd_conf, config_files.slurmdbd_conf(layout, endpoints, user))
            daemons.create_database()
            daemons.mariadbd()
            daemons.slurmdbd(endpoints.controller_address, endpoints.database_port)
        say(f"starting slurmctld and {options.nodes} slurmd")
        daemons.slurmctld(endpoints.controller_address, endpoints.controller_port)
        for name in names:
            daemons.slurmd(name)
        if options.accounting:
            daemons.wait("slurmdbd", lambda: _accounting_answers(layout), "accounting")
            _add_user(daemons, layout, user)
        daemons.wait("slurmctld", lambda: _all_idle(layout, options.nodes), "all nodes idle")
    version = command(layout, "sinfo", "--version").stdout.strip()
    _write(layout.env_file, exports_text(layout))
    layout.write_state({**state, "phase": "up", "slurm": version})
    say(f"{options.nodes} nodes idle, {version}, after {time.monotonic() - began:.1f} s")


def _add_user(daemons: Daemons, layout: Layout, user: str) -> None:
    account = ("account", "users", "Description=users", "Organization=users")
    for entity in (account, ("user", user, "Account=users", "DefaultAccount=users")):
        added = command(layout, "sacctmgr", "--immediate", "add", *entity)
        if added.returncode != 0:
            raise StartError(
                f"sacctmgr add {entity[0]}: {added.stderr.strip()}", daemons.logs_of("slurmdbd")
            )


def _all_idle(layout: Layout, nodes: int) -> bool:
    listing = command(
        layout, "sinfo", "--noheader", "--Node", "--partition=debug", "--format=%T", limit_s=5
    )
    return listing.returncode == 0 and listing.stdout.split() == ["idle"] * nodes


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def print_logs(logs: list[Path]) -> None:
    """Show the end of the logs that explain a failed start."""
    for path in logs:
        try:
            lines = path.read_text(errors="replace").splitlines()[-15:]
        except OSError:
            continue
        if lines:
            print(f"--- {path}", *lines, sep="\n", file=sys.stderr, flush=True)


def members(layout: Layout) -> list[processes.Process]:
    """Every process of the cluster in this directory."""
    state = layout.read_state()
    recorded = []
    if state.get("boot_id") == processes.boot_id():
        recorded = [(pid, start) for pid, start in state["daemons"].values()]
    return processes.of_cluster(layout.dir, layout.runtime_dir, recorded)


def take_down(layout: Layout) -> bool:
    """Cancel the jobs, end every process, remove the files; False if something is left."""
    found = members(layout)
    if any(process.name == "slurmctld" for process in found):
        _cancel_jobs(layout, found)
    seen = dict.fromkeys(found)
    # The database is thrown away, so nothing is gained by a gentle stop. Processes that appear
    # while others end (a step that slurmd was just starting) are found by looking again.
    deadline = time.monotonic() + KILL_S
    while left := [*members(layout), *_running(seen)]:
        seen.update(dict.fromkeys(left))
        for process in left:
            processes.send_signal(process, SIGKILL)
        processes.wait_until_gone(left, limit_s=2)
        if time.monotonic() >= deadline:
            break
    if seen:
        names: dict[str, int] = {}
        for process in seen:
            names[process.name] = names.get(process.name, 0) + 1
        say("stopped " + ", ".join(f"{n} {name}" for name, n in sorted(names.items())))
    if left:
        say("cannot end: " + ", ".join(f"{p.name} (pid {p.pid})" for p in left))
        return False
    known = layout.exists()
    foreign = layout.remove()
    if known:
        say(f"removed {layout.dir}")
    if foreign:
        say(f"left other files in {layout.dir}: {', '.join(foreign[:10])}")
    return True


def _running(seen: dict[processes.Process, None]) -> list[processes.Process]:
    """Former members that still run: without their parents they may no longer look like members."""
    return [p for p in seen if processes.is_running(p.pid, p.start_time)]


def _cancel_jobs(layout: Layout, found: list[processes.Process]) -> None:
    """Ask SLURM to end the jobs; whatever does not end in time is killed afterwards."""
    if any(process.name == "slurmstepd" for process in found):
        say("cancelling jobs")
    for state in ("PENDING", "RUNNING", "SUSPENDED"):
        if command(layout, "scancel", f"--state={state}", limit_s=3).returncode == 124:
            return
    steps = [process for process in found if process.name == "slurmstepd"]
    processes.wait_until_gone(steps, limit_s=JOB_END_S)
    for process in found:
        if process.name in processes.CLIENTS:
            processes.send_signal(process, SIGTERM)
