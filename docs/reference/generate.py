"""Writes the reference pages from the code: `make reference`. A test fails when they drift."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

os.environ["COLUMNS"] = "90"  # argparse wraps its help to the terminal
os.environ.pop("PTYCHO_DIST_RUNS_DIR", None)

from launcher.cli import build_parser as launch_parser
from launcher.explain.advice import advice_for
from launcher.explain.causes import BY_NAME
from launcher.sites.profiles import BUILT_IN, read_site, site_paths
from launcher.sites.starter_config import partition_summaries
from ptycho_dist.cli.data import build_parser as data_parser
from ptycho_dist.cli.flags import meaning_of
from ptycho_dist.cli.infer import build_parser as infer_parser
from ptycho_dist.cli.train import build_parser as train_parser
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.load import FRONT_END_DEFAULTS
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.schema import run_config_schema

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NOTE = "<!-- Written by `make reference`; change the code, not this page. -->\n"


def run_config_page() -> str:
    """Every field of run.yaml: type, default, meaning."""
    parts = [
        "# Fields of run.yaml\n",
        NOTE,
        "Normative text: [specs/run_config.md](../../specs/run_config.md); for editors: "
        "[run_config.schema.json](../../specs/run_config.schema.json).\n",
    ]
    schema = run_config_schema()
    parts.append("## Top level\n")
    parts.append(_table(RunConfig, schema, skip_sections=True))
    for name, section in get_type_hints(RunConfig).items():
        if dataclasses.is_dataclass(section):
            parts.append(f"## {name}\n")
            parts.append(f"{str(section.__doc__).splitlines()[0]}\n")
            definition = schema["$defs"][section.__name__]
            parts.append(_table(section, definition, prefix=f"{name}."))
    return "\n".join(parts)


def _table(
    section: type, definition: dict[str, Any], prefix: str = "", skip_sections: bool = False
) -> str:
    lines = ["| field | allowed | default | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(section):
        if skip_sections and dataclasses.is_dataclass(get_type_hints(section)[field.name]):
            continue
        shown = definition["properties"][field.name]
        required = field.name in definition.get("required", [])
        dotted = prefix + field.name
        default = FRONT_END_DEFAULTS.get(dotted, shown.get("default"))
        meaning = meaning_of(section, field.name)
        default_text = "required" if required else f"`{json.dumps(default)}`"
        lines.append(_row(f"`{dotted}`", _allowed(shown), default_text, meaning))
    return "\n".join(lines) + "\n"


def _allowed(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    words = {"integer": "whole number", "number": "number", "string": "text", "array": "list"}
    text = words.get(schema.get("type", ""), schema.get("type", "mapping"))
    text = {"object": "mapping", "boolean": "true, false", "null": "none"}.get(text, text)
    if schema.get("format") == "path":
        text = "path"
    low = schema.get("minimum")
    above = schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    below = schema.get("exclusiveMaximum")
    bounds = [
        f"≥ {low}" if low is not None else "",
        f"> {above}" if above is not None else "",
        f"≤ {high}" if high is not None else "",
        f"< {below}" if below is not None else "",
    ]
    return " ".join([text, ", ".join(bound for bound in bounds if bound)]).strip()


def commands_page() -> str:
    """The help of every command."""
    parts = ["# Commands\n", NOTE]
    parts.append(
        "Exit codes: 0 done, 1 the run failed, 2 your mistake (one line, no traceback; `--debug` "
        "shows it), 3 cluster unreachable, 130 interrupted. A rank that stopped on request exits "
        "with 75.\n"
    )
    for parser in (launch_parser(), data_parser(), train_parser(), infer_parser()):
        parts.append(f"## {parser.prog}\n")
        parts.append(f"```text\n{parser.format_help()}```\n")
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, command in action.choices.items():
                    parts.append(f"### {parser.prog} {name}\n")
                    parts.append(f"```text\n{command.format_help()}```\n")
    return "\n".join(parts)


def sites_page() -> str:
    """The built-in site profiles."""
    parts = ["# Built-in site profiles\n", NOTE]
    parts.append(
        "From the public pages that slurm/sites/*.yaml name line by line; not a promise of the "
        "centres. [How to use one, and write your own](../how-to/sites.md).\n"
    )
    names = [name for name, (origin, _) in site_paths().items() if origin == BUILT_IN]
    sites = [read_site(name) for name in names]
    lines = ["| site | what it is | asks for GPUs by | memory | required | checked |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for site in sites:
        profile, rules = site.profile, site.profile.rules
        title = profile.title
        if profile.documentation:
            title = f"[{title}]({profile.documentation})"
        spelled = {"with-node": "nothing"}.get(rules.gpus_as, f"`--{rules.gpus_as}`")
        needed = ", ".join(rules.required)
        checked = profile.checked or ""
        lines.append(
            _row(
                f"[{site.name}](#{site.name})", title, spelled, rules.mem_per_node, needed, checked
            )
        )
    parts.append("\n".join(lines) + "\n")
    for site in sites:
        parts.append(f"## {site.name}\n")
        known = [f"partition `{name}`: {of}" for name, of in partition_summaries(site).items()]
        known += [
            f"default `{section}.{field}: {json.dumps(value)}`"
            for section, fields in site.profile.defaults.items()
            for field, value in fields.items()
        ]
        known += site.profile.notes
        parts.append("\n".join(f"- {line}" for line in known) + "\n")
    return "\n".join(parts)


def execution_fields() -> str:
    """The field catalogue of the execution config; defaults of dataclass and front ends."""
    schema = run_config_schema()
    definition = schema["$defs"][PyTorchExecutionConfig.__name__]
    lines = ["| field | allowed | default | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(PyTorchExecutionConfig):
        default = f"`{json.dumps(field.default)}`"
        front_end = FRONT_END_DEFAULTS.get(f"execution.{field.name}")
        if front_end is not None:
            default += f", front ends `{json.dumps(front_end)}`"
        meaning = meaning_of(PyTorchExecutionConfig, field.name)
        allowed = _allowed(definition["properties"][field.name])
        lines.append(_row(f"`{field.name}`", allowed, default, meaning))
    return "\n".join(lines) + "\n"


def flag_table(parser: argparse.ArgumentParser) -> str:
    """Every flag of a command: what it sets, what is allowed, its default."""
    lines = ["| flag | allowed | default | meaning |", "| --- | --- | --- | --- |"]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings)
        if action.choices:
            allowed = ", ".join(f"`{choice}`" for choice in action.choices)
        else:
            allowed = "" if action.nargs == 0 else (action.metavar or "TEXT")
        meaning = (action.help or "").replace("%%", "%")
        said = re.search(r" \(default: (.*)\)$", meaning)
        default = "required" if action.required else ""
        if said:
            meaning = meaning[: said.start()]
            default = said[1] if action.default is None else f"`{action.default}`"
        lines.append(_row(names, allowed, default, meaning))
    return "\n".join(lines) + "\n"


def causes_of_failure() -> str:
    """Every class that `explain` names: what it means, what to do."""
    lines = ["| class | meaning | what to do |", "| --- | --- | --- |"]
    for name, cause in BY_NAME.items():
        lines.append(_row(f"`{name}`", cause.title, "; ".join(advice_for(name))))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def with_inserts(path: Path) -> str:
    """The text of a page with what stands between its `begin` and `end` comments written anew."""
    text = path.read_text("utf-8")
    for name, insert in INSERTS[str(path.relative_to(REPOSITORY))].items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{path}: no {begin.strip()} … {end}")
        text = f"{before}{begin}\n{insert()}\n{end}{after}"
    return text


PAGES = {"run_config.md": run_config_page, "commands.md": commands_page, "sites.md": sites_page}
INSERTS: dict[str, dict[str, Callable[[], str]]] = {
    "specs/execution_config.md": {"execution fields": execution_fields},
    "docs/how-to/why-did-it-fail.md": {"causes": causes_of_failure},
    "docs/workflows/pytorch.md": {
        "training flags": lambda: flag_table(train_parser()),
        "inference flags": lambda: flag_table(infer_parser()),
    },
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
    for name in INSERTS:
        path = REPOSITORY / name
        path.write_text(with_inserts(path), encoding="utf-8")
