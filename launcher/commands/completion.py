"""`ptycho-launch completion`: the TAB key completes commands, flags, files and run ids."""

from __future__ import annotations

import argparse
import sys

SUMMARY = "print what makes a shell complete this command"
EXAMPLE = 'eval "$(ptycho-launch completion bash)"  (in ~/.bashrc)'


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(options: argparse.Namespace) -> int:
    from launcher.completion import completion_script

    sys.stdout.write(completion_script(options.shell))
    return 0
