"""`ptycho-launch sites`: all site profiles, or one of them."""

from __future__ import annotations

import argparse
import json
import sys

from launcher.commands.arguments import speaks_json

SUMMARY = "list the site profiles, or show one"
EXAMPLE = "ptycho-launch sites perlmutter"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take the name of a profile."""
    command.add_argument("name", nargs="?", metavar="NAME", help="profile to show (default: all)")
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Print one profile, or a line for each; a damaged profile is a warning."""
    from rich.console import Console

    from launcher.sites.present import show_site, show_sites, site_to_json
    from launcher.sites.profiles import all_sites, own_directory, read_site
    from ptycho_dist.errors import UserError

    if options.name is not None:
        site = read_site(options.name)
        if options.json:
            print(json.dumps(site_to_json(site), indent=2))
        else:
            show_site(site, Console())
        return 0
    broken: list[UserError] = []
    sites = list(all_sites(broken))
    for error in broken:  # one damaged profile must not hide the others
        for line in str(error).splitlines():
            print(f"warning: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps([site_to_json(site) for site in sites], indent=2))
    else:
        show_sites(sites, own_directory(), Console())
    return 0
