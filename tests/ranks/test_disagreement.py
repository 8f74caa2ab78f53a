"""Ranks that differ, in config, data, packages or legacy values: all end, and say who and what."""

import json
import os
import shutil
import sys

import pytest

from ptycho_dist.config.plain_data import config_digest, decode_run_config
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

TWO = "resources: {tasks_per_node: 2}\ntraining: {nepochs: 3, batch_size: 8}\n"
FOREIGN = TWO + "legacy: {module: foreign_params, attribute: settings}\n"


def another_copy(run, path, **changes):
    """The run as another node could see it: other values of `section.field`."""
    shutil.copytree(run.path, path)
    other = RunDirectory(path)
    record = json.loads(other.run_json.read_text())
    for dotted, value in changes.items():
        section, field = dotted.split("__")
        record["config"][section][field] = value
    record["config_sha256"] = config_digest(decode_run_config(record["config"], "test"))
    other.run_json.write_text(json.dumps(record))
    return other


def with_version(path, package, version):
    """A folder that makes Python believe in another version of a package."""
    info = path / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return path


def test_config_data_file_and_package_version_are_named(make_run, start_ranks, tmp_path, simulate):
    """RD-034, EC-046: one line in all heartbeats, and a table in all logs."""
    run = make_run(TWO)
    file = str(simulate(tmp_path / "other.npz", n_patterns=37, seed=1))
    other = another_copy(
        run, tmp_path / "other", execution__learning_rate=0.5, data__train_data_file=file
    )
    ranks = start_ranks(run)
    ranks.start(0)
    ranks.run = other
    ranks.start(1, PYTHONPATH=with_path(with_version(tmp_path / "site", "scipy", "0.1.2")))
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 1]
    for _, text in results:
        assert "error: the ranks differ: " in text
        assert "execution.learning_rate: rank 0 on" in text
        assert "has 0.001, rank 1 on" in text
        assert "has 0.5" in text
        for what in (
            "what",
            "data.train_data_file (contents)",
            "scipy",
            "0.1.2",
            "execution.learning_rate",
        ):
            assert any(line.startswith(what) or what in line for line in text.splitlines()[1:])
        assert "Traceback" not in text
    reason = read_heartbeats(run)[0].reason
    assert "execution.learning_rate" in reason
    assert "\n" not in reason


def with_path(folder):
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


FOREIGN_MODULE = """
import os
settings = {"label": "as installed", "N": 128}
if os.environ.get("ODD_RANK", "none") == os.environ.get("RANK"):
    settings["label"] = "another"
odd = os.environ.get("ODD")
if odd == "start":
    settings["label"] = "another"
if odd == "epoch":  # after the checkpoint of an epoch, before the next one
    import ptycho_dist.training.metrics as metrics
    whole = metrics.write_metrics
    def write_metrics(path, rows):
        whole(path, rows)
        if len(rows) == 1:
            settings["N"] = 32
    metrics.write_metrics = write_metrics
if odd == "checkpoint":  # within an epoch
    import ptycho_dist.data.order as order
    drawn = order.epoch_order
    def epoch_order(*args, **kwargs):
        if kwargs["epoch"] == 1:
            settings["N"] = 32
        return drawn(*args, **kwargs)
    order.epoch_order = epoch_order
if odd == "end":  # after the last checkpoint
    import ptycho_dist.training.callback as callback
    class Late(callback.RunCallback):
        def on_train_end(self, *_):
            settings["N"] = 32
    callback.RunCallback = Late
if odd == "leaving":  # after the last comparison
    import ptycho_dist.runtime.rank_heartbeat as heartbeat
    whole = heartbeat.RankHeartbeat.write
    def say(self, state, **words):
        whole(self, state, **words)
        if state == "finished":
            settings["N"] = 32
    heartbeat.RankHeartbeat.write = say
if odd == "import":
    raise OSError("no licence")
"""


@pytest.mark.parametrize(
    ("odd", "rank", "words"),
    [
        ("start", 1, 'differ at the start: label: rank 0 has "as installed", rank 1 has "another"'),
        ("epoch", 0, "differ before epoch 1: N: rank 0 has 32, rank 1 has 64"),
        (
            "checkpoint",
            1,
            "differ before the checkpoint of step 6: N: rank 0 has 64, rank 1 has 32",
        ),
        ("end", 1, "differ at the end: N: rank 0 has 64, rank 1 has 32"),
    ],
)
def test_a_legacy_value_that_one_rank_changes_ends_all(
    make_run, start_ranks, tmp_path, odd, rank, words
):
    """LI-070 to LI-073: a foreign dict is filled and watched; at any time, key and rank."""
    (tmp_path / "foreign_params.py").write_text(FOREIGN_MODULE)
    ranks = start_ranks(make_run(FOREIGN))
    for number in (0, 1):
        extra = {"ODD": odd} if number == rank else {}
        # its module changes ours before others import from them
        anew = number == rank and odd != "start"
        ranks.start(number, anew=anew, PYTHONPATH=with_path(tmp_path), **extra)
    results = ranks.finish()
    assert [code for code, _ in results] == [1, 1]
    for _, text in results:
        assert f"error: the legacy values of the ranks {words}" in text
        assert "Traceback" not in text
    assert not ranks.run.result_json.exists()
    scopes = [event for event in read_ledger(ranks.run) if event["event"] == "legacy_scope"]
    assert [(e["mode"], e["address"]) for e in scopes] == [
        ("watched", "foreign_params.settings")
    ] * 2


def test_a_legacy_value_that_changes_after_the_last_comparison_ends_its_rank(
    make_run, start_ranks, tmp_path
):
    """LI-073"""
    (tmp_path / "foreign_params.py").write_text(FOREIGN_MODULE)
    ranks = start_ranks(make_run(FOREIGN))
    ranks.start(0, PYTHONPATH=with_path(tmp_path))
    ranks.start(1, anew=True, PYTHONPATH=with_path(tmp_path), ODD="leaving")
    (first, _), (second, text) = ranks.finish()
    assert (first, second) == (0, 1)
    assert "error: foreign_params.settings was changed in a LegacyScope: N: 32 in place of" in text
    heartbeat = read_heartbeats(ranks.run)[1]
    assert heartbeat.state == "failed"
    assert "N: 32 in place of 64" in heartbeat.reason


def test_a_rank_that_cannot_open_its_scope_is_named_by_the_others(make_run, start_ranks, tmp_path):
    """LI-070, LI-033, RD-033: it is opened before the rank joins."""
    (tmp_path / "foreign_params.py").write_text(FOREIGN_MODULE)
    ranks = start_ranks(make_run(FOREIGN))
    ranks.start(0, PYTHONPATH=with_path(tmp_path))
    ranks.start(1, PYTHONPATH=with_path(tmp_path), ODD="import")
    (first, named), (second, text) = ranks.finish()
    assert (first, second) == (1, 2)
    words = "legacy.module foreign_params: cannot be imported: no licence"
    assert f"error: {words}" in text
    assert "error: rank 1: on" in named
    assert words in named
    assert "Traceback" not in text + named


def test_workers_have_the_legacy_values_of_their_rank(make_run, start_ranks, tmp_path):
    """LI-040, LI-074: a worker in which one differs ends the rank, with its number and the key."""
    (tmp_path / "foreign_params.py").write_text(
        "import torch.utils.data as data\n"
        "settings = {}\n"
        "class Sly(data.DataLoader):\n"
        "    def __init__(self, *args, worker_init_fn, **kwargs):\n"
        "        super().__init__(*args, worker_init_fn=Changed(worker_init_fn), **kwargs)\n"
        "class Changed:\n"
        "    def __init__(self, then):\n"
        "        self.then = then\n"
        "    def __call__(self, worker):\n"
        "        settings['N'] = 32\n"
        "        self.then(worker)\n"
        "data.DataLoader = Sly\n"
    )
    run = make_run(FOREIGN.replace("tasks_per_node: 2", "tasks_per_node: 1"))
    ranks = start_ranks(another_copy(run, tmp_path / "with-workers", execution__num_workers=1))
    ranks.start(0, anew=True, PYTHONPATH=with_path(tmp_path))  # it replaces the DataLoader
    ((code, text),) = ranks.finish()
    assert code == 1
    assert "DataLoader worker 0: foreign_params.settings was changed" in text
    assert "N: 32 in place of 64" in text


def test_ranks_of_ptycho_infer_compare_their_legacy_values(
    make_run, start_ranks, as_torchrun, tmp_path, scan_file
):
    """LI-075"""
    (tmp_path / "foreign_params.py").write_text(FOREIGN_MODULE)
    run = make_run(FOREIGN.replace("tasks_per_node: 2", "tasks_per_node: 1"))
    ranks = start_ranks(run)
    ranks.start(0, PYTHONPATH=with_path(tmp_path))
    ((code, text),) = ranks.finish()
    assert code == 0, text
    command = [
        sys.executable, "-m", "ptycho_dist.cli.infer", "--model_path", str(run.path),
        "--test_data", str(scan_file), "--output_dir", str(tmp_path / "out"),
        "--accelerator", "cpu",
    ]  # fmt: skip
    words = 'differ at the start: label: rank 0 has "as installed", rank 1 has "another"'
    for done in as_torchrun(command, 2, PYTHONPATH=with_path(tmp_path), ODD_RANK="1"):
        assert done.returncode != 0
        assert words in done.stderr
    assert not (tmp_path / "out" / "object.h5").exists()
