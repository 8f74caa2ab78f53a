"""`ptycho-launch validate`: check a config, and report every fault at once."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_config

SUMMARY = "check a config and report every fault in it"
EXAMPLE = "ptycho-launch validate run.yaml"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG."""
    takes_config(command)


def run(options: argparse.Namespace) -> int:
    """Say that the config is valid; its faults are raised as one error."""
    from launcher.planning.load import load_and_plan

    _, plan = load_and_plan(options)
    print(f"{options.config}: valid; {plan.world.ranks} ranks, {plan.world.total_steps} steps")
    return 0
