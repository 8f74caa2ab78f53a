"""Site profiles: where they come from, what they say, what they do to a run (RC-100 to RC-109)."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.cli import main
from launcher.control import resume as resuming
from launcher.planning import load
from launcher.sites.profile import decode_planned_site, decode_profile, planned_site
from launcher.sites.profiles import BUILT_IN, own_directory, read_site, site_paths
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.config.contradictions import DataFacts
from ptycho_dist.config.faults import ConfigError
from ptycho_dist.config.load import read_run_config
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

REPOSITORY = Path(__file__).parents[3]
SHIPPED = sorted((REPOSITORY / "slurm/sites").glob("*.yaml"))
ACTING = {"defaults", "partitions", "qos", "rules", "constraints", "scratch", "detect"}


@pytest.fixture
def own_profile():
    """Write a profile of the user's own."""

    def write(text, name="beamline"):
        own_directory().mkdir(parents=True, exist_ok=True)
        path = own_directory() / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def plan(make_config, capsys, monkeypatch):
    """`plan(text)`: exit code, plan as JSON or None, and stderr of `ptycho-launch plan`.

    What the scan holds is known, which saves a process for each plan.
    """
    monkeypatch.setattr(load, "read_data_facts", lambda path: DataFacts(37, 64))

    def call(text, *arguments):
        code = main(["plan", str(make_config(text)), "--json", *arguments])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return call


def test_every_file_of_slurm_sites_is_a_built_in_profile():
    assert {path.stem for path in SHIPPED} == set(site_paths())
    assert all(origin == BUILT_IN for origin, _ in site_paths().values())
    assert len(SHIPPED) >= 12


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_value_of_a_built_in_profile_names_its_public_source_and_the_day(path):
    """RC-107."""
    text = path.read_text("utf-8")
    profile = read_site(path.stem).profile
    sources = set(
        re.findall(
            r"^# (\[\d+\]) 20\d\d-\d\d-\d\d (?:https://|slurm/cluster/)\S+\.\S+", text, re.MULTILINE
        )
    )
    tree = yaml.compose(text)
    seen = set()
    for key, value in tree.value:
        if key.value in ACTING:
            for line in _lines_of_scalars(value):
                named = set(re.findall(r"\[\d+\]", text.splitlines()[line].partition(" #")[2]))
                assert named, f"line {line + 1} names no source"
                assert named <= sources, f"line {line + 1}: {named - sources} is not listed above"
                seen |= named
    seen |= set(re.findall(r"\[\d+\]", "\n".join(re.findall(r"^  - .*$", text, re.MULTILINE))))
    assert seen == sources, "a source that no line names"
    assert not seen or profile.checked


def _lines_of_scalars(node):
    if isinstance(node, yaml.ScalarNode):
        yield node.start_mark.line
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _lines_of_scalars(item)
    else:
        for _, value in node.value:
            yield from _lines_of_scalars(value)


def test_the_profile_of_the_one_host_cluster_is_that_of_its_defaults():
    text = (REPOSITORY / "slurm/cluster/layout.py").read_text("utf-8")
    options = {
        name: int(number) for name, number in re.findall(r"^    (\w+): int = (\d+)$", text, re.M)
    }
    for limits in read_site("one-host").profile.partitions.values():
        assert limits.cpus_per_node == options["cpus_per_node"]
        assert limits.gpus_per_node == options["gpus_per_node"]
        assert limits.mem_per_node == f"{options['memory_per_node_mb']}M"
        assert limits.max_nodes == options["nodes"]


def test_the_users_own_profile_wins_by_name(own_profile, plan):
    """RC-100."""
    own_profile("title: mine\ndefaults: {resources: {partition: mine}}", "perlmutter")
    assert read_site("perlmutter").origin == "yours"
    _, made, _ = plan("site: perlmutter")
    assert made["resources"]["partition"] == "mine"
    assert made["resources"]["constraint"] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("perlmuter", "did you mean perlmutter?"),
        ("xyzzy", "`ptycho-launch sites` lists them"),
        ("../perlmutter", "match pattern"),
        ("/etc/passwd", "match pattern"),
        ('"perlmutter\\u001b[31m"', "match pattern"),
        ("[perlmutter]", "valid string"),
        ("3", "valid string"),
        ("x" * 100, "64 characters"),
    ],
)
def test_a_name_that_is_no_profile(plan, name, words):
    """RC-100: a plain name, which leads nowhere else."""
    code, made, said = plan(f"site: {name}")
    assert (code, made) == (2, None)
    assert all(": site: " in line for line in said.splitlines())
    assert words in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "title: x\npartitions: {gpu: {max_tim: 1:00}}",
            "partitions.gpu.max_tim: unknown key; did",
        ),
        (
            "title: x\npartitions: {gpu: {max_time: soon}}",
            "partitions.gpu.max_time: must be a time such",
        ),
        ("title: x\npartitions: {gpu: {max_nodes: 1e999}}", "partitions.gpu.max_nodes"),
        (
            "title: x\nqos: {long: {gpus: 1}}",
            "qos.long.gpus: unknown key; known keys are max_nodes",
        ),
        ("title: x\nrules: {gpus_as: gers}", "rules.gpus_as: input should be 'gpus-per-node'"),
        ("title: x\nrules: {required: [acount]}", "rules.required.0: must be a field of resources"),
        ("title: x\nrule: {}", "rule: unknown key; did you mean rules?"),
        ("title: x\ndefaults: {resources: {node: 2}}", "defaults.resources.node: unknown key; did"),
        (
            "title: x\ndefaults: {resources: {nodes: a}}",
            "defaults.resources.nodes: input should be",
        ),
        ("title: x\ndefaults: {environment: {env: {RANK: 1}}}", "defaults.environment.env.RANK"),
        ("title: x\ndefaults: {data: {}}", "defaults.data: input should be"),
        ('title: "a\\nb"', "title: must not contain control characters"),
        ("documentation: https://x", "title: missing"),
        ("title: x\ndocumentation: javascript:x", "documentation"),
        ("- title", "must be a mapping"),
        ("", "must be a mapping"),
        ('title: x\n"\\e[31m": 1', "\\x1b[31m: unknown key"),
        ('title: x\ndefaults: {resources: {"\\e[31m": 1}}', "defaults.resources.\\x1b[31m"),
        ("title: [", "not valid YAML"),
        ("title: &a x\nscratch: *a", "aliases are not allowed"),
        ("title: x\ntitle: y", "appears twice"),
    ],
)
def test_a_broken_profile_is_named_with_file_and_key(own_profile, plan, capsys, text, words):
    """RC-101: it is refused where it is used."""
    path = own_profile(text)
    code, _, said = plan("site: beamline")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert f"site: {path}" in said
    assert words in said
    assert main(["sites", "beamline"]) == 2
    assert words in capsys.readouterr().err


def test_a_broken_profile_hides_no_other(own_profile, capsys):
    """RC-101."""
    path = own_profile("title: x\nrule: {}")
    assert main(["sites"]) == 0
    listed = capsys.readouterr()
    assert "perlmutter" in listed.out
    assert "beamline" not in listed.out
    assert listed.err == f"warning: {path}: rule: unknown key; did you mean rules?\n"


def test_files_that_are_no_profiles_are_left_alone(own_profile):
    own_profile("title: x", "has space")
    (own_directory() / "folder.yaml").mkdir()
    os.mkfifo(own_directory() / "pipe.yaml")
    assert not {"has space", "folder", "pipe"} & set(site_paths())


OURS = """
title: ours
defaults:
  resources: {partition: gpu, gpus_per_node: 4, cpus_per_task: 8}
  requeue: {on: [timeout]}
  environment: {modules: [site], env: {A: site, B: site}}
  execution: {num_workers: 2}
"""


def test_defaults_fill_what_is_not_said(own_profile, plan):
    """RC-102, RC-020."""
    own_profile(OURS)
    code, made, said = plan(
        "site: beamline\n"
        "resources: {partition: null, cpus_per_task: 2}\n"
        "environment: {modules: [mine], env: {A: mine}}\n",
        "--set", "requeue.on=[crash]",
    )  # fmt: skip
    assert code == 0, said
    assert made["resources"]["partition"] is None
    assert made["world"]["ranks"] == 4
    assert made["world"]["threads_per_rank"] == 2
    assert made["modules"] == ["mine"]
    assert made["variables"] == {"A": "mine", "B": "site"}
    assert made["requeue"]["on"] == ["crash"]
    origins = made["origins"]
    assert origins["resources.gpus_per_node"] == "site beamline"
    assert origins["environment.env.A"] == "run.yaml"
    assert origins["environment.env.B"] == "site beamline"
    assert origins["requeue.on"] == "--set"
    assert origins["execution.accelerator"] == "front end"
    assert origins["execution.num_workers"] == "site beamline"


def test_a_fault_of_a_default_says_where_it_comes_from(own_profile, plan):
    """RC-102: it cannot be found in run.yaml."""
    own_profile(OURS)
    _, _, said = plan("site: beamline\nexecution: {accelerator: cpu}")
    assert "resources.gpus_per_node: 4 GPUs are requested" in said
    assert said.rstrip().endswith("[site beamline]")


FIELDS = {
    "resources.nodes": (1, 2, 3),
    "resources.partition": ("a", "b", None),
    "resources.cpus_per_task": (1, 2, 4),
    "requeue.max_restarts": (0, 1, 2),
    "execution.accelerator": ("auto", "cpu"),
    "execution.num_workers": (0, 1),
    "environment.env.X": ("1", "2"),
}
choices = st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in FIELDS.items()})


def nested(values):
    data = {}
    for path, value in values.items():
        place = data
        *sections, name = path.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return data


@given(written=choices, site=choices, overrides=choices)
def test_precedence(written, site, overrides, scan_file, tmp_path_factory):
    """RC-020: --set, run.yaml, site profile, front end, default."""
    path = tmp_path_factory.getbasetemp() / "precedence.yaml"
    base = {"name": "x", "site": "s", "data": {"train_data_file": str(scan_file)}}
    path.write_text(json.dumps({**base, **nested(written)}))
    sets = [f"{field}={json.dumps(value)}" for field, value in overrides.items()]
    loaded = read_run_config(path, sets, lambda name: nested(site)).sound()
    plain = read_run_config(path, ["site=null", *sets]).sound().config
    for field in FIELDS:
        given_by = [
            (origin, values[field])
            for origin, values in (("--set", overrides), ("run.yaml", written), ("site s", site))
            if field in values
        ]
        value = loaded.config
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else getattr(value, name)
        if given_by:
            assert (loaded.origins[field], value) == given_by[0]
        elif field == "execution.accelerator":
            assert (loaded.origins[field], value) == ("front end", "auto")
        elif field != "environment.env.X":
            assert loaded.origins[field] == "default"
    assert replace(loaded.config, site=None) == plain or site


def test_a_site_that_nobody_reads_is_refused(make_config):
    """RC-103: in Python without a reader its rules would be obeyed by half."""
    read = read_run_config(make_config("site: perlmutter"))
    assert [fault.path for fault in read.faults] == ["site"]
    with pytest.raises(ConfigError, match="only ptycho-launch reads site profiles"):
        read_run_config(make_config("site: perlmutter")).sound()


LIMITED = """
title: limited
partitions:
  gpu: {max_time: 2:00:00, max_nodes: 4, cpus_per_node: 16, gpus_per_node: 4, mem_per_node: 64G}
  big: {max_time: 8:00:00, max_nodes: 8, max_time_up_to_nodes: {2: 1:00:00, 4: 4:00:00}}
  cpu: {gpus_per_node: 0}
qos:
  long: {max_time: 1-00:00:00}
  tiny: {max_nodes: 1}
"""


@pytest.mark.parametrize(
    ("resources", "path", "words"),
    [
        (
            'partition: gpu, time: "2:00:01"',
            "time",
            "partition gpu of site limited allows at most 2:00:00",
        ),
        (
            "partition: gpu, nodes: 5",
            "nodes",
            "5, but partition gpu of site limited allows at most 4",
        ),
        (
            "partition: gpu, gpus_per_node: 8",
            "gpus_per_node",
            "8, but a node in partition gpu of s",
        ),
        ("partition: cpu, gpus_per_node: 1", "gpus_per_node", "has none"),
        ("partition: gpu, gpus_per_node: 4, cpus_per_task: 5", "cpus_per_task", "are 20 per node"),
        ("partition: gpu, mem_per_node: 65537M", "mem_per_node", "has 64G"),
        (f"partition: gpu, mem_per_node: '{'9' * 5000}'", "mem_per_node", "has 64G"),
        (
            'partition: big, nodes: 2, time: "1:00:01"',
            "time",
            "allows 1:00:00 for jobs of up to 2 no",
        ),
        (
            'partition: big, nodes: 3, time: "4:00:01"',
            "time",
            "allows 4:00:00 for jobs of up to 4 no",
        ),
        ('partition: big, nodes: 5, time: "8:00:01"', "time", "allows at most 8:00:00"),
        (
            'partition: gpu, qos: long, time: "1-00:00:01"',
            "time",
            "QOS long of site limited allows",
        ),
        (
            "partition: gpu, qos: tiny, nodes: 2",
            "nodes",
            "QOS tiny of site limited allows at most 1",
        ),
        (
            'partition: "gpu,big", nodes: 9',
            "nodes",
            "partition gpu,big of site limited allows at m",
        ),
    ],
)
def test_limits_refuse_at_their_field(own_profile, plan, resources, path, words):
    """RC-104."""
    own_profile(LIMITED, "limited")
    code, _, said = plan(f"site: limited\nresources: {{{resources}}}")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert f"resources.{path}: " in said
    assert words in said


@pytest.mark.parametrize(
    "resources",
    [
        'partition: gpu, time: "2:00:00", nodes: 4, gpus_per_node: 4, cpus_per_task: 4',
        "partition: gpu, mem_per_node: 64G",
        'partition: gpu, qos: long, time: "23:00:00"',
        'partition: big, nodes: 5, time: "8:00:00"',
        'partition: "gpu,big", nodes: 8, gpus_per_node: 4',
        'partition: other, nodes: 30, time: "9-00:00:00"',
        'partition: "gpu,other", nodes: 30, time: "9-00:00:00"',
    ],
)
def test_what_a_profile_allows_or_does_not_name_is_taken(own_profile, plan, resources):
    """RC-104."""
    own_profile(LIMITED, "limited")
    code, _, said = plan(f"site: limited\nresources: {{{resources}}}")
    assert code == 0, said


def test_rules_on_memory_and_on_what_is_required(own_profile, plan):
    """RC-104: all at once."""
    own_profile("title: a\nrules: {mem_per_node: forbidden, required: [account, qos]}", "a")
    own_profile("title: b\nrules: {mem_per_node: required}", "b")
    code, _, said = plan("site: a\nresources: {mem_per_node: 1G}")
    found = [line.partition("resources.")[2].partition(":")[0] for line in said.splitlines()]
    assert (code, found) == (2, ["mem_per_node", "account", "qos"])
    assert "resources.mem_per_node: missing, but site b requires it" in plan("site: b")[2]
    assert plan("site: a\nresources: {account: x, qos: y}")[0] == 0


@pytest.mark.parametrize(
    ("spelling", "kind", "directive"),
    [
        ("gpus-per-node", "", "#SBATCH --gpus-per-node=4"),
        ("gres", "", "#SBATCH --gres=gpu:4"),
        ("gres", ", gpu_type: a100", "#SBATCH --gres=gpu:a100:4"),
        ("gpus-per-node", ", gpu_type: a100", "#SBATCH --gpus-per-node=a100:4"),
        ("with-node", ", gpu_type: a100", None),
    ],
)
def test_gpus_are_asked_for_as_the_site_spells_it(own_profile, plan, spelling, kind, directive):
    """RC-105; the ranks are the same."""
    own_profile(f"title: x\nrules: {{gpus_as: {spelling}}}")
    _, made, _ = plan(f"site: beamline\nresources: {{gpus_per_node: 4{kind}}}")
    asked = [line for line in made["script"].splitlines() if re.match("#SBATCH.*(gpu|gres)", line)]
    assert asked == ([directive] if directive else [])
    assert made["world"]["ranks"] == 4


def test_what_acts_in_a_plan_is_read_back_equal():
    """RC-106."""
    for name in site_paths():
        site = planned_site(name, read_site(name).profile)
        stored = json.loads(json.dumps(site.to_json()))
        assert decode_planned_site(stored, "plan.json") == site


KEYS = st.text() | st.sampled_from(["name", "rules", "partitions"])
PLAIN = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@settings(max_examples=50)
@given(PLAIN)
def test_any_plain_data_is_a_profile_or_a_clear_error(data):
    for decode in (decode_profile, decode_planned_site):
        try:
            decode(data, "x")
        except UserError as error:
            said = str(error)
        else:
            said = "x: sound"
        assert all(line.startswith("x: ") for line in said.splitlines())


def test_a_resumed_run_keeps_its_rules(own_profile, make_config, tmp_path, monkeypatch, capsys):
    """RC-106: whatever became of the profile, until somebody asks for it anew."""
    path = own_profile("title: x\nrules: {gpus_as: gres}\npartitions: {p: {max_time: 2:00:00}}")
    text = "site: beamline\nresources: {gpus_per_node: 2, partition: p}"
    assert main(["script", str(make_config(text)), "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "#SBATCH --gres=gpu:2" in capsys.readouterr().out
    (run_path,) = (tmp_path / "runs").iterdir()
    run = RunDirectory(run_path)
    begin_attempt(run, job_id="here:1:1", cluster="local", nodes=["n"])
    end_attempt(run, 1, 1)
    monkeypatch.setattr(resuming, "submit_prepared", lambda *_: None)

    def resume(*overrides):
        resuming.resume(run, "local", resuming.Changes(overrides=overrides))
        return run.script.read_text()

    path.write_text("title: x\nrules: {gpus_as: with-node}\npartitions: {p: {max_time: 1:00}}")
    assert "#SBATCH --gres=gpu:2" in resume("environment.env.A=one")
    path.unlink()
    assert "#SBATCH --gres=gpu:2" in resume()
    with pytest.raises(ConfigError, match="partition p of site beamline allows at most 2:00:00"):
        resume("resources.time=2:00:01")
    with pytest.raises(UserError, match="no site profile is named 'beamline'"):
        resume("site=beamline")
    own_profile("title: x\nrules: {gpus_as: with-node}\ndefaults: {resources: {qos: new}}")
    renewed = resume("site=beamline")
    assert "gpu:2" not in renewed
    assert "--qos" not in renewed, "the defaults of a profile are for new runs"
    assert "#SBATCH --gpus-per-node=2" in resume("site=null")
    resume("site=beamline")
    plan = json.loads(run.plan_json.read_text())
    run.plan_json.write_text(json.dumps({**plan, "site": {"rules": 3}}))
    with pytest.raises(UserError, match=r"plan\.json"):
        resume()


def test_sites_shows_what_a_profile_says(own_profile, capsys):
    own_profile(LIMITED + 'scratch: "[red]/scratch"\nnotes: ["x [/] y"]', "limited")
    assert main(["sites", "limited"]) == 0
    said = capsys.readouterr().out
    assert "[red]/scratch" in said
    assert "x [/] y" in said
    assert "big: 8:00:00, 1:00:00 up to 2 nodes, 4:00:00 up to 4 nodes, 8 nodes" in said
    assert main(["sites", "--json"]) == 0
    listed = {site["name"]: site for site in json.loads(capsys.readouterr().out)}
    assert listed["limited"]["origin"] == "yours"
    assert listed["vista"]["rules"]["mem_per_node"] == "forbidden"
    assert main(["sites", "limited", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listed["limited"]


def test_the_wheel_carries_profiles_and_examples(tmp_path):
    """RC-107: `init --site` works where there is no checkout."""
    build = (
        "import sys; from setuptools import build_meta; "
        "build_meta.build_wheel(sys.argv[1], {'--build-option': ['--quiet']})"
    )
    source = tmp_path / "source"
    source.mkdir()
    for name in ("launcher", "slurm", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-a", REPOSITORY / name, source / name], check=True)
    subprocess.run(
        [sys.executable, "-c", build, tmp_path], cwd=source, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    for path in SHIPPED:
        assert f"launcher/site_profiles/{path.name}" in names
    assert "launcher/examples/quickstart.yaml" in names
