#!/usr/bin/env python3
"""A real SLURM cluster on this one host, for tests and tutorials.

    eval "$(python slurm/cluster/cluster.py up)"     start it, or use the one that is running
    python slurm/cluster/cluster.py status           say whether it is healthy
    python slurm/cluster/cluster.py down             take it down; no process and no file is left

Everything is in one directory. The cluster changes no file of the host and needs no root.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 missing packages.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import daemons
import lifecycle
import ports
from layout import Layout, Options, UsageError
from lifecycle import say

CHECKOUT = Path(__file__).resolve().parents[2]
OTHER_COMMAND_S = 90.0  # how long to wait for another up or down in the same directory


class Interrupted(BaseException):
    """A signal asked this command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into `Interrupted` within the block."""

    def handler(number: int, _frame: FrameType | None) -> None:
        ignore_stop_signals()  # a second Ctrl-C must not interrupt the clean-up
        raise Interrupted(number)

    for number in STOP_SIGNALS:
        signal.signal(number, handler)
    yield
    ignore_stop_signals()


def ignore_stop_signals() -> None:
    """Let the command run to its end from here on; it is bounded and leaves nothing half-done."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def up(layout: Layout, options: Options, limit_s: float) -> int:
    """Start the cluster, or use it if it is already up and healthy; returns the exit code."""
    if packages := daemons.missing_packages(options.accounting):
        say(f"missing Debian packages: apt-get install {' '.join(packages)}")
        return 3
    faults = lifecycle.faults(layout)
    if not faults:
        if difference := options.difference(layout.read_state()["options"]):
            say(f"another cluster runs in {layout.dir}: {', '.join(difference)}; run `down` first")
            return 2
        say(f"already up in {layout.dir}")
        return finish_up(layout)
    if layout.exists() or layout.short_dir.exists() or lifecycle.members(layout):
        say(f"not healthy: {'; '.join(faults)}; starting it again")
        if not lifecycle.take_down(layout):
            return 1
    try:
        with stop_signals_raise():
            lifecycle.bring_up(layout, options, limit_s)
    except UsageError:
        raise
    except BaseException as error:
        ignore_stop_signals()
        say("stopped by a signal" if isinstance(error, Interrupted) else f"failed: {error}")
        if isinstance(error, daemons.StartError):
            lifecycle.print_logs(error.logs)
        lifecycle.take_down(layout)
        if isinstance(error, Interrupted):
            return 128 + error.number
        if isinstance(error, (daemons.StartError, ports.NoSlotError, OSError)):
            return 1
        raise
    return finish_up(layout)


def finish_up(layout: Layout) -> int:
    """Print the export lines; returns the exit code."""
    if sys.stdout.isatty():
        say(f"to use it here: source {layout.env_file}")
    sys.stdout.write(lifecycle.exports_text(layout))
    return 0


def down(layout: Layout) -> int:
    """Take the cluster down, whatever state it is in; returns the exit code."""
    ignore_stop_signals()
    if not layout.exists() and not lifecycle.members(layout):
        layout.remove()
        say(f"nothing to take down in {layout.dir}")
        return 0
    return 0 if lifecycle.take_down(layout) else 1


def status(layout: Layout) -> int:
    """Print whether the cluster is healthy; returns the exit code."""
    if not layout.exists():
        print(f"no cluster in {layout.dir}")
        return 1
    faults = lifecycle.faults(layout)
    print(f"{layout.dir}: {'; '.join(faults) or 'healthy'}")
    state = layout.read_state()
    for name, value in state.get("options", {}).items():
        print(f"  {name}: {value}")
    for name, (pid, _start) in state.get("daemons", {}).items():
        print(f"  {name}: pid {pid}")
    return 1 if faults else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""

    def whole(low: int, high: int) -> type[int]:
        def check(text: str) -> int:
            if not text.isdecimal() or not low <= int(text) <= high:
                raise argparse.ArgumentTypeError(f"{text!r} is not in {low}..{high}")
            return int(text)

        return check  # type: ignore[return-value]

    default = Path(os.environ.get("PTYCHO_DIST_CLUSTER_DIR") or CHECKOUT / ".cluster")
    parser = argparse.ArgumentParser(
        prog="cluster.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status"):
        command = commands.add_parser(name)
        command.add_argument(
            "--dir", type=Path, default=default,
            help="its directory (default: $PTYCHO_DIST_CLUSTER_DIR, else the checkout's .cluster)",
        )  # fmt: skip
    start = commands.choices["up"]
    start.add_argument("--nodes", type=whole(1, ports.MAX_NODES), default=Options.nodes)
    start.add_argument("--cpus-per-node", type=whole(1, 256), default=Options.cpus_per_node)
    start.add_argument("--gpus-per-node", type=whole(0, 16), default=Options.gpus_per_node)
    start.add_argument(
        "--memory-per-node-mb", type=whole(256, 2**22), default=Options.memory_per_node_mb
    )
    start.add_argument("--no-accounting", dest="accounting", action="store_false")
    start.add_argument(
        "--limit-s",
        type=whole(1, 600),
        default=60,
        help="seconds until a start is given up (60)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run one command under a lock on its directory; returns the exit code."""
    args = parse(arguments)
    try:
        layout = Layout(args.dir)
        if args.command == "status":
            return status(layout)
        with ports.host_lock(f"directory/{layout.digest}", wait_s=OTHER_COMMAND_S):
            if args.command == "down":
                return down(layout)
            names = [field.name for field in dataclasses.fields(Options)]
            options = Options(**{name: getattr(args, name) for name in names})
            return up(layout, options, float(args.limit_s))
    except UsageError as error:
        say(str(error))
        return 2
    except ports.LockHeldError:
        say(f"another `up` or `down` is still running in {args.dir}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
