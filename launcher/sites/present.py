"""Site profiles as text for people, and as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launcher.sites.profile import profile_to_json
from launcher.sites.profiles import Site
from launcher.sites.starter_config import partition_summaries


def site_to_json(site: Site) -> dict[str, Any]:
    """Return a profile with its name, origin and file as plain data."""
    head = {"name": site.name, "origin": site.origin, "file": str(site.path)}
    return {**head, **profile_to_json(site.profile)}


def show_sites(sites: Sequence[Site], own: Path, console: Console) -> None:
    """Print all profiles, one line each."""
    table = Table(box=None, pad_edge=False)
    for heading in ("site", "what it is", "from"):
        table.add_column(heading, overflow="fold")
    for site in sites:
        table.add_row(site.name, escape(site.profile.title), site.origin)
    console.print(table, highlight=False)
    console.print(escape(f"yours: {own}"), highlight=False, soft_wrap=True)
    console.print("next: ptycho-launch sites NAME, ptycho-launch init --site NAME", highlight=False)


def show_site(site: Site, console: Console) -> None:
    """Print one profile: its defaults, limits and rules."""
    console.print(f"[bold]{site.name}[/bold] {escape(site.profile.title)}", highlight=False)
    for name, value in _rows(site):
        console.print(f"  [dim]{name:<14}[/dim] {escape(value)}", highlight=False, soft_wrap=True)
    console.print(f"next: ptycho-launch init --site {site.name}", highlight=False)


def _rows(site: Site) -> Iterator[tuple[str, str]]:
    profile = site.profile
    yield "profile", f"{site.origin}, {site.path}"
    if profile.documentation:
        yield "documentation", profile.documentation
    if profile.checked:
        yield "checked", profile.checked
    for section, fields in profile.defaults.items():
        for field, value in fields.items():
            yield "default", f"{section}.{field}: {json.dumps(value)}"
    for name, summary in partition_summaries(site).items():
        yield "partition", f"{name}: {summary}"
    for name, qos in profile.qos.items():
        nodes = f", {qos.max_nodes} nodes" if qos.max_nodes else ""
        yield "QOS", f"{name}: {qos.max_time or 'no limit known'}{nodes}"
    rules = profile.rules
    if rules.mem_per_node != "allowed":
        yield "rule", f"resources.mem_per_node is {rules.mem_per_node}"
    if rules.gpus_as == "with-node":
        yield "rule", "GPUs come with the node; they are not requested from sbatch"
    elif profile.defaults:
        yield "rule", f"GPUs are requested by --{rules.gpus_as}"
    for name in rules.required:
        yield "rule", f"resources.{name} is required"
    for name, meaning in profile.constraints.items():
        yield "constraint", f"{name}: {meaning}"
    if profile.scratch:
        yield "scratch", profile.scratch
    if profile.containers:
        yield "containers", ", ".join(profile.containers)
    for note in profile.notes:
        yield "note", note
