"""`ptycho-launch validate`: every fault of a config at once."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_config

SUMMARY = "check a config and name every fault"
EXAMPLE = "ptycho-launch validate run.yaml"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_config(command)


def run(options: argparse.Namespace) -> int:
    from launcher.planning.load import load_and_plan

    _, plan = load_and_plan(options)
    print(f"{options.config}: valid; {plan.world.ranks} ranks, {plan.world.total_steps} steps")
    return 0
