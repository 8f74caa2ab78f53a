"""The command `ptycho-launch`: its parser, and the call of one command module."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from launcher.commands import (
    cancel,
    check,
    clean,
    completion,
    doctor,
    drill,
    explain,
    init,
    logs,
    plan,
    report,
    resume,
    scale,
    script,
    sites,
    status,
    submit,
    validate,
    verify,
)
from launcher.commands import (
    list as list_,
)
from ptycho_dist.errors import one_line_errors

COMMANDS = {
    "init": init,
    "sites": sites,
    "validate": validate,
    "plan": plan,
    "script": script,
    "check": check,
    "submit": submit,
    "status": status,
    "list": list_,
    "logs": logs,
    "explain": explain,
    "verify": verify,
    "report": report,
    "drill": drill,
    "scale": scale,
    "cancel": cancel,
    "resume": resume,
    "clean": clean,
    "doctor": doctor,
    "completion": completion,
}
"""Command module by the name that a person types, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words of the command line; None: those of this process.

    Returns:
        The exit code: 0 done; 1 the run failed; 2 the user's mistake; 3 the cluster cannot be
        reached; 130 interrupted by Ctrl-C.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    options.parser = parser  # `completion` writes a script from it
    return one_line_errors(options.debug, lambda: COMMANDS[options.command].run(options))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; `options.command` is the name of the command."""
    parser = argparse.ArgumentParser(
        prog="ptycho-launch",
        description="Train physics-informed ptychography networks, on this machine or on SLURM.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 your mistake, 3 the cluster cannot be "
        "reached, 130 interrupted.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.",
            epilog=f"Example: {module.EXAMPLE}",
        )
        command.set_defaults(command=name)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        module.arguments(command)
    return parser
