"""All commands of all programs: a flag means the same everywhere, and every example works."""

import argparse
import re
import shlex
from collections import defaultdict

import pytest

from launcher.cli import build_parser as launch_parser
from ptycho_dist.cli.data import build_parser as data_parser
from ptycho_dist.cli.infer import build_parser as infer_parser
from ptycho_dist.cli.train import build_parser as train_parser

OTHER_DEFAULT = {"--output", "--state"}
"""Flags whose default depends on the command."""
WITHOUT_JSON = {
    "ptycho-launch init": "writes a file",
    "ptycho-launch validate": "says all with its exit code; `plan --json` has the figures",
    "ptycho-launch script": "prints a batch script",
    "ptycho-launch logs": "prints lines",
    "ptycho-launch drill": "says all with its exit code; its last line is PASS or FAIL",
    "ptycho-launch completion": "prints a shell script",
    "ptycho-data simulate": "writes a file; `inspect --json` reads it",
    "ptycho-data convert": "writes a file; `inspect --json` reads it",
    "ptycho-train": "writes a run directory; `ptycho-launch status --json` reads it",
}
ONE_RUN = {"status", "logs", "explain", "verify", "report", "cancel", "resume"}


def walk(parser):
    """Every parser without subcommands, by the words that call it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from walk(command)
            return
    yield parser.prog, parser


@pytest.fixture(scope="module")
def commands():
    parsers = (launch_parser(), data_parser(), train_parser(), infer_parser())
    return {name: command for parser in parsers for name, command in walk(parser)}


def shown_help(parser, action):
    """The help text as a person sees it, and the default that it names."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    found = re.search(r" \(default: (.*)\)$", text)
    return (text[: found.start()], found[1]) if found else (text, None)


def traits(parser, action):
    """What must be the same wherever an argument occurs."""
    kind = getattr(action.type, "__dict__", None) or action.type
    short = tuple(name for name in action.option_strings if not name.startswith("--"))
    choices = None if action.choices is None else tuple(action.choices)
    return (
        shown_help(parser, action)[0], action.metavar, repr(kind), type(action).__name__,
        action.nargs, action.dest, choices, short,
    )  # fmt: skip


def arguments_by_name(commands):
    """Name and field of an argument → command → parser and argument."""
    found = defaultdict(dict)
    for name, parser in commands.items():
        for action in parser._actions:
            options = [each for each in action.option_strings if each.startswith("--")]
            field = re.search(r"\[([a-z_]+\.\w+)\]", action.help or "")
            for option in options or [f"{action.metavar or action.dest} ({action.nargs})"]:
                found[option, field and field[1]][name] = (parser, action)
    return found


def test_a_flag_is_the_same_in_every_command(commands):
    """RC-132"""
    shared = {k: v for k, v in arguments_by_name(commands).items() if len(v) > 1}
    assert len(shared) > 20
    for (option, _), places in shared.items():
        kinds = defaultdict(list)
        for name, (parser, action) in places.items():
            kinds[traits(parser, action)].append(name)
        assert len(kinds) == 1, f"{option}: {dict(kinds)}"
        defaults = {shown_help(parser, action)[1] for parser, action in places.values()}
        assert (len(defaults) == 1) != (option in OTHER_DEFAULT), f"{option}: {defaults}"
        assert None not in defaults or len(defaults) == 1, f"{option}: {defaults}"


def test_a_difference_is_found(commands):
    """RC-132: the test above, seen to fail."""
    parser = launch_parser()
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    plan = subparsers.choices["plan"]
    (flag,) = (action for action in plan._actions if "--set" in action.option_strings)
    flag.help = "override a value"
    with pytest.raises(AssertionError, match="--set"):
        test_a_flag_is_the_same_in_every_command({**commands, "ptycho-launch plan": plan})


def test_a_run_may_be_left_out(commands):
    """RC-130"""
    taking = {
        name.partition(" ")[2]
        for name, parser in commands.items()
        for action in parser._actions
        if action.dest == "run"
    }
    assert taking == ONE_RUN
    for name in ONE_RUN:
        (run,) = (a for a in commands[f"ptycho-launch {name}"]._actions if a.dest == "run")
        assert (run.nargs, run.metavar) == ("?", "RUN")
        assert run.help.endswith("(default: the newest run)")


def test_every_command_has_a_summary_and_an_example_that_parses(commands):
    """RC-133"""
    for name, parser in commands.items():
        assert re.fullmatch(r"[A-Z].{10,}\.", parser.description, flags=re.DOTALL), name
        assert parser.epilog.startswith("Example"), name
        examples = re.findall(rf"{name}(?: [^|>&()]*)?", parser.epilog)
        assert examples, f"{name}: no example of it in {parser.epilog!r}"
        for example in examples:
            words = shlex.split(example.rstrip(' "'))[len(name.split()) :]
            parser.parse_args(words)


def test_what_a_script_wants_to_read_is_printed_as_json(commands):
    """RC-133"""
    without = {
        name
        for name, parser in commands.items()
        if not any("--json" in action.option_strings for action in parser._actions)
    }
    assert without == set(WITHOUT_JSON)


def test_every_argument_has_a_help(commands):
    """RC-132: a noun or a sentence that says what it is, without a full stop."""
    for name, parser in commands.items():
        for action in parser._actions:
            where = f"{name} {action.option_strings or action.dest}"
            assert action.help, where
            assert not action.help.endswith("."), where
