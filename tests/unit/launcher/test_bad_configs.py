"""Bad configs of every field and kind, given to the real command: all are refused.

tests/generators/bad_configs.py makes them from the schema; the same ones are given to a real
cluster in tests/slurm/test_bad_input.py.
"""

import ast
import dataclasses
import subprocess
import sys
import typing
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bad_configs import CONTRADICTIONS, RULES, bad_configs, fields, sections
from waiting import HANG_S

from launcher.cli import build_parser, main
from ptycho_dist.config.run import RunConfig

CONFIGS = bad_configs(Path("train.npz"))
COUNTS = Counter(config.kind for config in CONFIGS)
IN_PROCESSES = 24
CODE = Path(__file__).parents[3] / "ptycho_dist" / "config"


@pytest.fixture
def refused(scan_file, tmp_path, monkeypatch, capsys):
    """`refused(kind)`: gives all configs of that kind to `submit`; returns the complaints."""
    monkeypatch.chdir(scan_file.parent)
    parser = build_parser()  # which takes longer than all else
    monkeypatch.setattr("launcher.cli.build_parser", lambda: parser)
    config, root = tmp_path / "run.yaml", tmp_path / "runs"

    def submit(kind):
        complaints = []
        for bad in CONFIGS:
            if bad.kind != kind:
                continue
            config.write_text(bad.text())
            sets = [word for override in bad.overrides for word in ("--set", override)]
            arguments = ["submit", str(config), "--cluster", "slurm", "--runs-dir", str(root)]
            code = main([*arguments, *sets])
            complaints += bad.complaints(config, code, *capsys.readouterr())
            if root.exists():
                pytest.fail(f"{bad}: made {list(root.iterdir())}")
        return complaints

    return submit


@pytest.mark.parametrize("kind", COUNTS, ids=[f"{kind}-{n}" for kind, n in COUNTS.items()])
def test_every_bad_config_is_refused_with_its_field(refused, kind):
    """RC-010, RC-011, RC-012, RC-120: exit 2, one line with the field, no run directory."""
    complaints = refused(kind)
    assert not complaints, "\n".join([f"{len(complaints)}:", *complaints[:20]])


def test_there_are_enough_of_them():
    assert len(CONFIGS) >= 150
    assert len({config.text() + str(config.overrides) for config in CONFIGS}) == len(CONFIGS)


def test_each_field_of_the_config_is_among_them():
    """By introspection of the classes: a field that the schema lacks is found here."""
    known = set()
    for name, hint in typing.get_type_hints(RunConfig).items():
        inner = dataclasses.fields(hint) if dataclasses.is_dataclass(hint) else ()
        known |= {f"{name}.{field.name}" for field in inner} or {name}
    assert {f"{section}.{name}".lstrip(".") for section, name, _ in fields()} == known
    values = {bad.field.partition("[")[0] for bad in CONFIGS if bad.kind == "value"}
    assert {path for path in known if not any(each.startswith(path) for each in values)} == set()


def rules_of_the_code():
    """Fields that the rules over several fields name, read from their sources."""
    found = set()
    for path in CODE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func.id if isinstance(getattr(node, "func", None), ast.Name) else None
            if called not in {"Fault", "ValueError"} or not node.args:
                continue
            text = ast.unparse(node.args[0]).lstrip("f").strip("'\"")
            field = text.partition(":")[0]
            section, _, name = field.partition(".")
            if section in sections() and (name in sections()[section]["properties"] or "{" in name):
                found.add(field)
    return found


def test_each_contradiction_that_the_code_knows_is_among_them():
    tried = {field for field, _ in [*CONTRADICTIONS, *RULES]}
    known = rules_of_the_code()
    assert {"resources.tasks_per_node", "model.gridsize", "training.nll_weight"} <= known
    for field in known:
        begin = field.partition("{")[0]
        assert any(each.startswith(begin) for each in tried), f"nothing tries {field}"


def test_a_sample_in_processes_of_their_own(scan_file, tmp_path):
    """As a person runs it: nothing that is imported, cached or warned of in a process matters."""

    def submit(number):
        bad = CONFIGS[number * len(CONFIGS) // IN_PROCESSES]
        config, root = tmp_path / f"{number}.yaml", tmp_path / f"runs-{number}"
        config.write_text(bad.text())
        sets = [word for override in bad.overrides for word in ("--set", override)]
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "submit", config, "--runs-dir", root, *sets],
            cwd=scan_file.parent, capture_output=True, text=True, timeout=HANG_S,
        )  # fmt: skip
        made = [f"{bad}: made {root}"] if root.exists() else []
        return made + bad.complaints(config, done.returncode, done.stdout, done.stderr)

    with ThreadPoolExecutor(2) as pool:
        complaints = [each for found in pool.map(submit, range(IN_PROCESSES)) for each in found]
    assert not complaints, "\n".join(complaints)
