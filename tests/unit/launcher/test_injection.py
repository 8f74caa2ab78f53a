"""RC-030, RC-031, G9: no text of a config becomes a command, a directive or a line.

Each string field, found by introspection, is given each text of tests/generators/injections.py;
what is accepted is rendered, and the script is run by bash with stand-ins for srun and Python.
"""

import json
import os
import re
import shlex
import subprocess

import pytest
from injections import (
    MARK,
    OF_A_SHELL,
    OF_TWO_LINES,
    SHELL_BY_NATURE,
    placed,
    string_fields,
)
from waiting import HANG_S

from launcher.cli import build_parser, main

FIELDS = list(string_fields())
ANY_LINE = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
STANDS_FOR_PYTHON = """#!/bin/bash
[ "$3" = begin ] && echo "001 {}"
exit 0
"""
STANDS_FOR_SRUN = """#!/bin/bash
env -0 > "$SEEN"
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def planned(scan_file, tmp_path, monkeypatch, capsys):
    """`planned(field, how, text)`: the exit code of `plan` and what it said, as JSON or stderr."""
    parser = build_parser()
    monkeypatch.setattr("launcher.cli.build_parser", lambda: parser)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    config = tmp_path / "run.yaml"
    good = {"name": "tiny", "data": {"train_data_file": str(scan_file)}}
    in_image = {**good, "environment": {"container": "/images/ptycho.sif"}}

    def plan(field=None, how="", text=""):
        start = in_image if (field or "").startswith("environment.container_") else good
        data = good if field is None else placed(start, field, how, text)
        config.write_text(json.dumps(data))
        code = main(["plan", str(config), "--json", "--runs-dir", str(tmp_path / "runs")])
        said = capsys.readouterr()
        return code, json.loads(said.out) if code == 0 else said.err

    return plan


@pytest.fixture
def run_script(tmp_path):
    """`run_script(text)`: bash runs it in an empty directory; the variables that srun has seen."""
    tools, work = tmp_path / "tools", tmp_path / "work"
    work.mkdir()
    executable(tools / "srun", STANDS_FOR_SRUN)
    executable(tools / "python", STANDS_FOR_PYTHON)
    surroundings = {"PATH": f"{tools}:/usr/bin:/bin", "SEEN": str(tmp_path / "seen")}

    def run(script):
        script = re.sub("(?m)^python=.*$", lambda _: f"python={tools}/python", script, count=1)
        done = subprocess.run(
            ["bash", "-c", f"module() {{ :; }}\n{script}"],
            cwd=work, env=surroundings, capture_output=True, text=True, timeout=HANG_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert list(work.iterdir()) == []
        seen = (tmp_path / "seen").read_bytes().decode().split("\0")
        return dict(each.split("=", 1) for each in seen if each)

    return run


def directives(script):
    """Option and value of each directive; a line ends where any reader could see its end."""
    lines = [line for line in ANY_LINE.split(script) if line.lstrip().startswith("#SBATCH")]
    return dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines)


def test_the_fields_are_found():
    assert {
        ("name", "text"),
        ("data.train_data_file", "path"),
        ("resources.constraint", "text"),
        ("environment.modules", "items"),
        ("environment.env", "keys"),
        ("environment.env", "values"),
    } <= set(FIELDS)


@pytest.mark.parametrize(("field", "how"), FIELDS, ids=lambda part: part)
def test_no_text_of_a_field_is_a_command_or_a_directive(planned, run_script, field, how):
    code, usual = planned()
    assert code == 0, usual
    allowed = directives(usual["script"])
    for text in OF_A_SHELL if how != "path" else ():
        code, said = planned(field, how, text)
        if code != 0:
            assert code == 2
            assert f": {field}" in said
            assert all(line.isprintable() for line in said.splitlines())
            continue
        found = directives(said["script"])
        for option in (name for name in found if found[name] != allowed.get(name)):
            words = shlex.split(found[option])
            assert len(words) == 1, f"{option} is {words}"
            assert text in words[0], f"{text!r} has changed {option}"
        if field != SHELL_BY_NATURE:
            seen = run_script(said["script"])
            if how == "values":
                assert seen["NAME"] == text
    for text in OF_TWO_LINES:
        code, said = planned(field, how, text)
        assert code == 2, f"{text!r} is accepted"
        assert f": {field}" in said
        assert all(line.isprintable() for line in said.split("\n"))


@pytest.mark.parametrize("field", [field for field, how in FIELDS if how == "path"])
def test_no_path_is_a_command_or_a_directive(planned, run_script, scan_file, tmp_path, field):
    """All that may stand in a path at once, in a file or a folder that is there."""
    text = "".join(OF_A_SHELL).replace("/", "")
    path = tmp_path / text
    if field == "environment.venv":
        executable(path / "bin/python", STANDS_FOR_PYTHON)
    else:
        os.link(scan_file, path)
    _, usual = planned()
    code, said = planned(field, "path", str(path))
    assert code == 0, said
    assert directives(said["script"]) == directives(usual["script"])
    run_script(said["script"])


def test_the_texts_do_what_they_say_where_a_shell_reads_them(tmp_path):
    """Else the tests above would show nothing."""
    for text in OF_A_SHELL:
        if MARK in text:
            made = tmp_path / MARK
            for shell in (f"echo {text}", f"echo '{text}'", f'echo "{text}"', f"echo $'{text}"):
                subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True)
            assert made.exists(), text
            made.unlink()
