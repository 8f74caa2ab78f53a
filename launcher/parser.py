"""The command line of `ptycho-launch`: every command with its flags and an example."""

from __future__ import annotations

import argparse

from launcher.commands import COMMANDS


def build_parser() -> argparse.ArgumentParser:
    """The parser; `options.command` is the name of the command."""
    parser = argparse.ArgumentParser(
        prog="ptycho-launch",
        description="Train physics-informed ptychography networks, on this machine or on SLURM.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 your mistake, 3 cluster unreachable.",
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
