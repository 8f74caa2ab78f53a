"""`ptycho-launch init`: write a first run.yaml."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from launcher.commands.arguments import writes_file

SUMMARY = "write a first run.yaml"
EXAMPLE = "ptycho-launch init --site perlmutter --data scan.npz"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take what the new config says, and where it is written."""
    command.add_argument(
        "--site",
        metavar="NAME",
        help="site profile (default: that of this login node, if it is known)",
    )
    command.add_argument("--data", metavar="FILE", help="training file (default: train.npz)")
    command.add_argument("--account", metavar="NAME", help="account that is charged")
    writes_file(command, "run.yaml")
    command.add_argument("--force", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> int:
    """Write the config, and say what to do next."""
    from launcher.sites.profiles import detect_site, read_site
    from launcher.sites.starter_config import DATA_FILE, write_starter

    guessed = None if options.site else detect_site(os.environ)
    name = guessed[0] if guessed else options.site
    site = read_site(name) if name else None
    place = options.output or Path("run.yaml")
    data_file = options.data or DATA_FILE
    write_starter(place, site, data_file, options.account, force=options.force)
    for_site = f" for site {name}" if name else ""
    why = f" (guessed: {guessed[1]})" if guessed else ""
    print(f"wrote {place}{for_site}{why}")
    if site and "account" in site.profile.rules.required and options.account is None:
        print("set resources.account in it: the site requires one")
    if options.data is None:
        print(f"make a scan to try: ptycho-data simulate {DATA_FILE} --n-patterns 1024")
    print(f"next: ptycho-launch validate {place}")
    return 0
