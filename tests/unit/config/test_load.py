"""From run.yaml to RunConfig: every fault at once, each with its path (specs/run_config.md)."""

import dataclasses
import errno
import json
from pathlib import Path

import jsonschema
import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.load import ConfigError, read_run_config
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.plain_data import (
    config_digest,
    decode_run_config,
    run_config_to_json,
)
from ptycho_dist.config.resources import walltime_seconds
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.schema import run_config_schema
from ptycho_dist.config.training import TrainingConfig
from ptycho_dist.config.yaml_text import parse_yaml
from ptycho_dist.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]


def faults_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        read_run_config(path, overrides).sound()
    return {fault.path: fault.message for fault in caught.value.faults}


def test_every_fault_is_named_at_once_with_its_path(make_config):
    """RC-011, RC-012, RC-031, RC-032"""
    path = make_config(
        """
model: {N: 65}
training: {nepochs: 1.5, batch_size: "3", nll_weight: .inf, learning_rate: 1}
execution: {accelerator: bogus, deterministic: banana, learning_rate: .nan}
resources: {nodes: 0, node: 1, time: "1:99:00", mem_per_node: 3x}
environment: {env: {RANK: "1", 1a: x}, setup: ["a\\nb"], modules: ["-x"]}
resource: {}
"""
    )
    assert set(faults_of(path)) == {
        "model.N",
        "training.nepochs",
        "training.batch_size",
        "training.nll_weight",
        "training.learning_rate",
        "execution.accelerator",
        "execution.deterministic",
        "execution.learning_rate",
        "resources.nodes",
        "resources.node",
        "resources.time",
        "resources.mem_per_node",
        "environment.env.RANK",
        "environment.env.1a",
        "environment.setup[0]",
        "environment.modules[0]",
        "resource",
    }


@pytest.mark.parametrize(
    ("text", "path", "advice"),
    [
        ("resources: {node: 1}", "resources.node", "did you mean resources.nodes?"),
        ("trainin: {}", "trainin", "did you mean training?"),
        ("nodes: 2", "nodes", "did you mean resources.nodes?"),
        ("training: {learning_rate: 1}", "training.learning_rate", "execution.learning_rate"),
        ("training: {learning_rat: 1}", "training.learning_rat", "execution.learning_rate"),
        ("model: {qqq: 1}", "model.qqq", "known keys are N, amp_activation"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest_name(make_config, text, path, advice):
    """RC-010"""
    message = faults_of(make_config(text))[path]
    assert "unknown key" in message
    assert advice in message


def test_a_missing_data_file_is_named_as_resolved(tmp_path, monkeypatch):
    """RC-013"""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("name: a\ndata: {train_data_file: sub/none.npz}")
    faults = faults_of(Path("run.yaml"))
    assert faults == {"data.train_data_file": f"no such file: {tmp_path}/sub/none.npz"}


@pytest.mark.parametrize(
    "given", ["~nosuchuser/x", "x" * 300, "/proc/1/nothing/there", "a\\0b", "/root/../"]
)
def test_paths_that_cannot_be_are_faults_not_tracebacks(tmp_path, given):
    path = tmp_path / "run.yaml"
    path.write_text(f'name: a\ndata: {{train_data_file: "{given}"}}\nnods: 3')
    assert set(faults_of(path)) == {"data.train_data_file", "nods"}  # RC-012: both at once


def test_a_lone_surrogate_and_huge_numbers_are_faults(tmp_path, make_config):
    path = make_config('environment: {env: {A: "\\ud800"}, setup: [a, "\\udfff"]}\nnods: 3')
    faults = faults_of(path)
    assert set(faults) == {"environment.env.A", "environment.setup[1]", "nods"}
    assert (
        faults["environment.setup[1]"]
        == "contains half of a surrogate pair, which is not valid text"
    )
    many = make_config(f"training: {{nepochs: {'9' * 400}}}\nrequeue: {{signal_lead_s: 70000}}")
    faults = faults_of(many)
    assert set(faults) == {"training.nepochs", "requeue.signal_lead_s"}
    assert all(len(message) < 200 for message in faults.values())


def test_a_path_that_is_no_text_is_one_fault(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text('name: a\ndata: {train_data_file: "\\ud800"}')
    with pytest.raises(ConfigError) as caught:
        read_run_config(path).sound()
    assert [fault.path for fault in caught.value.faults] == ["data.train_data_file"]


def test_a_data_file_in_a_closed_folder_is_a_fault(make_config, monkeypatch):
    def closed(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = make_config()
    monkeypatch.setattr(Path, "is_file", closed)  # root may look into any folder
    message = faults_of(path)["data.train_data_file"]
    assert message.startswith("cannot be accessed: Permission denied: ")


@pytest.mark.parametrize(
    ("training", "faulty"),
    [
        ("nll_weight: 0", ["data.train_data_file", "data.test_data_file", "training.nll_weight"]),
        ("nods: 3", ["training.nods", "data.train_data_file", "data.test_data_file"]),
    ],
)
def test_faults_of_fields_files_and_contents_come_at_once(tmp_path, launch, training, faulty):
    """RC-012: neither a wrong field nor a missing file hides what another file holds."""
    (tmp_path / "text.npz").write_text("hello")
    path = tmp_path / "run.yaml"
    path.write_text(
        f"name: a\ndata: {{train_data_file: {tmp_path}/none.npz, "
        f"test_data_file: {tmp_path}/text.npz}}\ntraining: {{{training}}}"
    )
    done = launch("validate", path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[2] for line in lines] == faulty


def test_a_damaged_training_file_hides_no_contradiction_that_needs_it_not(tmp_path, launch):
    """RC-012"""
    (tmp_path / "text.npz").write_text("hello")
    path = tmp_path / "run.yaml"
    path.write_text(
        f"name: a\ndata: {{train_data_file: {tmp_path}/text.npz, n_groups: 3}}\n"
        "model: {gridsize: 3}\nresources: {nodes: 4}"
    )
    lines = launch("validate", path).stderr.splitlines()
    assert [line.split(": ")[2] for line in lines] == [
        "data.train_data_file",
        "resources.nodes",
        "data.neighbor_count",
    ]


def test_both_loader_options_without_workers_are_named(make_config):
    path = make_config("execution: {persistent_workers: true, prefetch_factor: 2}")
    assert set(faults_of(path)) == {"execution.persistent_workers", "execution.prefetch_factor"}


def test_a_section_that_set_replaces_has_the_origins_of_set_and_defaults(make_config):
    """RC-022"""
    loaded = read_run_config(make_config("training: {nepochs: 7}"), ["training={seed: 1}"]).sound()
    assert loaded.config.training.nepochs == 50
    assert loaded.origins["training.nepochs"] == "default"
    assert loaded.origins["training.seed"] == "--set"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"[1, 2]", "found a list"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, words):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_run_config(path).sound()


def test_a_heading_with_nothing_under_it_means_its_defaults(make_config):
    """RC-014"""
    loaded = read_run_config(make_config("model:\ntraining:\n")).sound()
    assert loaded.config.model == ModelConfig()


def test_precedence_and_the_origin_of_each_value(make_config):
    """RC-020, RC-022"""
    loaded = read_run_config(
        make_config("resources: {nodes: 2, tasks_per_node: 2}"), ["resources.nodes=4"]
    ).sound()
    assert loaded.config.resources.nodes == 4
    assert loaded.origins["resources.nodes"] == "--set"
    assert loaded.origins["resources.tasks_per_node"] == "run.yaml"
    assert loaded.origins["execution.accelerator"] == "front end"
    assert loaded.origins["training.seed"] == "default"
    assert set(loaded.origins) >= {
        f"execution.{field.name}" for field in dataclasses.fields(PyTorchExecutionConfig)
    }


def test_the_accelerator_is_auto_in_yaml_and_cpu_in_python(make_config):
    """RC-021"""
    assert read_run_config(make_config()).sound().config.execution.accelerator == "auto"
    assert PyTorchExecutionConfig().accelerator == "cpu"


@pytest.mark.parametrize("override", ["nodes", "=3", "resources.=3", "name.x=3"])
def test_overrides_that_are_none(make_config, override):
    with pytest.raises(UserError):
        read_run_config(make_config(), [override]).sound()


def test_json_and_back_is_the_same_config_with_the_same_digest(make_config):
    text = 'environment: {env: {A: "x y"}, setup: [echo 1]}\nrequeue: {signal_lead_s: 90}'
    config = read_run_config(make_config(text)).sound().config
    data = json.loads(json.dumps(run_config_to_json(config)))
    assert decode_run_config(data, "test") == config
    assert config_digest(decode_run_config(data, "test")) == config_digest(config)
    changed = dataclasses.replace(config, training=TrainingConfig(seed=1))
    assert config_digest(changed) != config_digest(config)


def test_configs_are_frozen_and_refuse_wrong_values_when_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().N = 128
    for wrong in (
        lambda: ModelConfig(N=65),
        lambda: TrainingConfig(batch_size=0),
        lambda: PyTorchExecutionConfig(learning_rate=float("nan")),
        lambda: PyTorchExecutionConfig(strategy="bogus"),
        lambda: PyTorchExecutionConfig(persistent_workers=True),
        lambda: PyTorchExecutionConfig(prefetch_factor=2),
        lambda: InferenceConfig(
            model_path=Path("a"), test_data_file=Path("b"), output_dir=Path("c"), batch_size=0
        ),
        lambda: InferenceConfig(
            model_path=Path("a"), test_data_file=Path("b"), output_dir=Path("c"), n_groups=10**400
        ),
    ):
        with pytest.raises(ValueError, match=r"found|[Ii]nput"):
            wrong()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("1:30", 90),
        ("02:00:00", 7200),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("2-00:00:01", 172801),
        ("90:00", 5400),
    ],
)
def test_walltimes_are_those_of_sbatch(text, seconds):
    assert walltime_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "1:60", "0:00:00", "1:60:00", "x", "-1", "1:2:3:4", "9" * 400]
)
def test_walltimes_that_are_none(text):
    with pytest.raises(ValueError, match=r"must be a time|59|longer than zero"):
        walltime_seconds(text)


def test_the_schema_in_specs_is_that_of_the_code():
    stored = json.loads((REPOSITORY / "specs/run_config.schema.json").read_text())
    assert stored == run_config_schema(), "run `make reference`"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "slurm/examples").glob("*.yaml")))
def test_examples_are_valid_by_schema_and_by_code(path):
    data = parse_yaml(path.read_text(), str(path))  # `on` is a word in YAML 1.2, and true in 1.1
    jsonschema.validate(data, run_config_schema())
    assert isinstance(decode_run_config(data, str(path)), RunConfig)


def test_the_schema_refuses_what_the_code_refuses():
    for wrong in ({"name": "a b"}, {"resources": {"nodes": 0}}, {"bogus": 1}):
        data = {"name": "a", "data": {"train_data_file": "x"}, **wrong}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, run_config_schema())
        with pytest.raises(ConfigError):
            decode_run_config(data, "test")


def test_blocks_and_gridsize_exclude_each_other(make_config):
    """REC-012"""
    path = make_config("model: {gridsize: 2}\n")
    path.write_text(path.read_text().replace("npz}", "npz, block_size: 4}"))
    with pytest.raises(ConfigError, match=r"gridsize: 2, but data\.block_size is 4: a group"):
        read_run_config(path).sound()
    path.write_text(path.read_text().replace("gridsize: 2", "gridsize: 1"))
    assert read_run_config(path).sound().config.data.block_size == 4
