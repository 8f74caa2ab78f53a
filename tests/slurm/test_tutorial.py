"""docs/tutorial.md is typed here, command by command, on a real cluster.

What it shows must come, line by line and in order, but for figures; `...` stands for lines that are
left out. Lines with `make` are not typed: the environment and the cluster of the tests take their
place.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANG_S

pytestmark = pytest.mark.slurm

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
FIGURES = re.compile(r"-\d{8}-\d{6}-[0-9a-f]{4}|\d+:\d\d(:\d\d)?|\d+(\.\d+)?(e[+-]?\d+)?")


def commands(text):
    """(command, lines that it shows) of each console block, in order."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        found = []
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append([line[2:], []])
            elif found and found[-1][0].endswith("\\"):
                found[-1][0] += "\n" + line
            else:
                found[-1][1].append(line)
        yield from found


def without_figures(line):
    return " ".join(FIGURES.sub("#", line).split())


def missing_line(shown, said):
    """The first line that is shown and did not come, where it is shown; None: all came."""
    lines = iter(map(without_figures, said.splitlines()))
    for line in shown:
        if line.strip() != "..." and without_figures(line) not in lines:
            return line
    return None


def exit_code(shown):
    """2 where an error is shown, 1 where a failed run is to be explained, else 0."""
    if any(line.startswith("error: ") for line in shown):
        return 2
    return int(any(line.startswith("why: ") for line in shown))


def test_what_is_compared():
    said = "a 1\nrun-20260101-000000-00aa: 3 steps in 0:12\nb\n"
    assert missing_line(["a 7", "...", "run-20270101-111111-ffff: 4 steps in 1:00"], said) is None
    assert missing_line(["b", "a 1"], said) == "a 1"
    assert missing_line(["c"], said) == "c"


def test_each_command_does_what_the_tutorial_says(cluster, tmp_path):
    environment = {
        **os.environ,
        **cluster.env,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "100",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    typed = 0
    for command, shown in commands(TUTORIAL.read_text("utf-8")):
        if re.search(r"\bmake\b|^source ", command):
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, timeout=HANG_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        expected = exit_code(shown)
        assert done.returncode == expected, f"$ {command}\n{done.stdout}"
        said = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "host", done.stdout)
        missing = missing_line(shown, said)
        assert missing is None, f"$ {command}\nshould say: {missing}\nsaid:\n{done.stdout}"
        typed += 1
    assert typed > 15
