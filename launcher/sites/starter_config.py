"""Writes a first run.yaml, with the limits of the site as comments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.sites.profiles import Site
from ptycho_dist.errors import UserError

DATA_FILE = "train.npz"


def write_starter(
    path: Path, site: Site | None, data_file: str, account: str | None, *, force: bool
) -> None:
    """Write the starter config.

    Args:
        path: the file to make.
        site: site whose defaults apply; None: no site.
        data_file: training file, as it is to appear in the config; it need not exist.
        account: account to charge; None: not given.
        force: replace an existing file.

    Raises:
        UserError: the file exists already, or cannot be written.
    """
    text = starter_text(site, data_file, account)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(
            f"{path}: exists; replace it with --force, or choose another file with -o"
        ) from None
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be written: {reason}") from None


def starter_text(site: Site | None, data_file: str, account: str | None) -> str:
    """Return the text of the starter config.

    It is valid as soon as the data file exists and the fields that the site requires are filled in.
    """
    return "\n".join(_lines(site, data_file, account)) + "\n"


def _lines(site: Site | None, data_file: str, account: str | None) -> Iterator[str]:
    yield "# A first run. `ptycho-launch validate` names each fault, `plan` shows what would run."
    yield "# All fields: docs/reference/run_config.md"
    yield "name: first-run"
    yield ""
    if site is not None:
        yield f"site: {site.name}    # {site.profile.title}"
        yield from (f"# {note}" for note in site.profile.notes)
        if site.profile.documentation:
            yield f"# {site.profile.documentation}"
        yield ""
    yield "data:"
    yield f"  train_data_file: {json.dumps(data_file)}"
    yield "  # test_data_file: test.npz    # for validation"
    yield "  block_size: 32                # patterns that share a canvas"
    yield ""
    yield "model:"
    yield "  N: 64                         # pixels of a pattern's side"
    yield "  architecture: unrolled"
    yield "  stages: 12"
    yield "  n_filters_scale: 1"
    yield ""
    yield "training:"
    yield "  nepochs: 4"
    yield "  batch_size: 1                 # per rank"
    yield "  nll_weight: 0.0"
    yield "  mae_weight: 1.0"
    yield ""
    yield "execution:"
    yield "  learning_rate: 0.002"
    yield "  scheduler: WarmupCosine"
    yield "  gradient_clip_val: 1.0"
    yield ""
    yield "resources:"
    yield "  nodes: 1                      # ranks = nodes × GPUs per node, or × tasks_per_node"
    yield '  time: "00:30:00"'
    if account is not None:
        yield f"  account: {json.dumps(account)}"
    if site is None:
        yield "  # tasks_per_node: 2           # or gpus_per_node: 4"
        yield "  # partition: …                # and account, qos, constraint: as your cluster asks"
        return
    yield from (f"  {line}" for line in _of_the_site(site, account))


def _of_the_site(site: Site, account: str | None) -> Iterator[str]:
    profile = site.profile
    for name in profile.rules.required:
        if name == "account" and account is None:
            yield "# account: …                  # required here"
    defaults = profile.defaults.get("resources", {})
    if defaults:
        yield "# From the site unless you say otherwise here:"
        yield from (f"#   {name}: {_shown(value)}" for name, value in defaults.items())
    if profile.rules.mem_per_node == "forbidden":
        yield "# mem_per_node is not taken here."
    if profile.partitions:
        yield "# Partitions:"
        yield from (f"#   {name}: {summary}" for name, summary in partition_summaries(site).items())
    if profile.qos:
        yield "# QOS (qos):"
        for name, qos in profile.qos.items():
            yield f"#   {name}: {_joined(qos.max_time, _count(qos.max_nodes, 'nodes'))}"
    if profile.constraints:
        yield "# Node features (constraint):"
        yield from (f"#   {name}: {meaning}" for name, meaning in profile.constraints.items())
    if profile.scratch:
        yield f"# Scratch, for --runs-dir and large data: {profile.scratch}"


def partition_summaries(site: Site) -> dict[str, str]:
    """Partition → its limits in one line."""
    return {
        name: _joined(
            limits.max_time,
            *(f"{most} up to {nodes} nodes" for nodes, most in limits.max_time_up_to_nodes.items()),
            _count(limits.max_nodes, "nodes"),
            _count(limits.cpus_per_node, "CPUs"),
            "no GPU" if limits.gpus_per_node == 0 else _count(limits.gpus_per_node, "GPUs"),
            limits.gpu_type,
            limits.mem_per_node,
        )
        for name, limits in site.profile.partitions.items()
    }


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part) or "no limits known"


def _count(number: int | None, of: str) -> str | None:
    return None if number is None else f"{number} {of}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
