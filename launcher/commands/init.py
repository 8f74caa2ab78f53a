"""`ptycho-launch init`: a first run.yaml."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

SUMMARY = "write a first run.yaml"
EXAMPLE = "ptycho-launch init --site perlmutter --data scan.npz"


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--site", metavar="NAME", help="site profile (default: that of this login node, if known)"
    )
    command.add_argument("--data", metavar="FILE", help="training file (default: train.npz)")
    command.add_argument("--account", metavar="NAME", help="account that is charged")
    command.add_argument(
        "-o", "--output", type=Path, default=Path("run.yaml"), metavar="FILE", help="what to write"
    )
    command.add_argument("--force", action="store_true", help="replace FILE if it is there")


def run(options: argparse.Namespace) -> int:
    from launcher.sites.profiles import detect_site, read_site
    from launcher.sites.starter_config import DATA_FILE, write_starter

    guessed = None if options.site else detect_site(os.environ)
    name = guessed[0] if guessed else options.site
    site = read_site(name) if name else None
    data_file = options.data or DATA_FILE
    write_starter(options.output, site, data_file, options.account, force=options.force)
    said = f" for site {name}" if name else ""
    print(f"wrote {options.output}{said}" + (f" (guessed: {guessed[1]})" if guessed else ""))
    if site and "account" in site.profile.rules.required and options.account is None:
        print("set resources.account in it: the site requires one")
    if options.data is None:
        print(f"a scan to try: ptycho-data simulate {DATA_FILE} --n-patterns 1024")
    print(f"next: ptycho-launch validate {options.output}")
    return 0
