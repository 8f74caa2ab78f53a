"""An interruption changes no item of state, and a drill names each that is lost (RS-001, RS-050).

One rank, in this process, with the signals and the comparison of `ptycho-launch drill`.
"""

import json
import random

import numpy as np
import pytest
import torch
from attempt_files import attempt_files
from lightning.pytorch import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

from launcher.drill.drill import compare
from ptycho_dist.config.plain_data import config_digest, decode_run_config
from ptycho_dist.rundir.consumed import ConsumedRanges
from ptycho_dist.rundir.drill_trace import lost_in_resume
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.training import assembly as assembly_room
from ptycho_dist.training import checkpoints as checkpoints_room
from ptycho_dist.training.callback import RunCallback
from ptycho_dist.training.checkpoints import RunCheckpoints
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.module import PtychoModule

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 4, batch_size: 4}
execution: {accum_steps: 2, scheduler: Adaptive, checkpoint_mode: max}
"""
"""An epoch has 10 micro-batches and 5 steps. With `max` a falling loss exhausts the patience."""
POINTS = [
    ("training", 0, 1),
    ("training", 1, 4),  # within a window
    ("validation", 1, 1),
    ("epoch_end", 2, 0),
    ("training", 3, 2),
]
INTERRUPTIONS = [
    {"attempt": n, "rank": 0, "place": place, "epoch": epoch, "batch": batch, "signal": "SIGUSR2"}
    for n, (place, epoch, batch) in enumerate(POINTS, start=1)
]


@pytest.fixture
def interrupted(fit, simulate, tmp_path):
    """`interrupted()` returns what differs between an uninterrupted run and an interrupted one."""

    def go(before_second=lambda: None, points=INTERRUPTIONS):
        text = TEXT
        test = simulate(tmp_path / "test.npz", n_patterns=10, seed=1)
        data = f"test_data_file: {test}"
        fit(text, data=data, interruptions=[])
        reference = fit.last_run
        fit(text, data=data, interruptions=points)
        run = fit.last_run
        before_second()
        for _ in POINTS:
            try:
                fit(text, resume=run)
            except Exception as error:
                return (*compare(reference, run), f"it fails: {error}")
            if fit.outcome == "finished" or list(lost_in_resume(run, len(attempt_files(run)), 1)):
                break  # a cause is found: what would follow from it is not needed
        return compare(reference, run)

    return go


def test_nothing_is_lost(interrupted, fit):
    """RS-001 to RS-007, RS-011, RD-055"""
    assert interrupted() == ()
    ends = [e["event"] for e in read_ledger(fit.last_run) if e["event"] in {"stopped", "finished"}]
    assert ends == ["stopped"] * len(POINTS) + ["finished"]


def test_the_number_of_workers_may_change(interrupted, fit):
    """RS-008"""

    def more_workers():
        record = json.loads(fit.last_run.run_json.read_text())
        record["config"]["execution"]["num_workers"] = 2
        record["config_sha256"] = config_digest(decode_run_config(record["config"], "test"))
        fit.last_run.run_json.write_text(json.dumps(record))

    in_training = [{**INTERRUPTIONS[0]}, {**INTERRUPTIONS[1]}]
    assert interrupted(more_workers, in_training) == ()


class Bar(Callback):
    """Notes where the progress bar stands after each micro-batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        bar = trainer.progress_bar_callback.train_progress_bar
        self.seen.append((trainer.current_epoch, batch_idx, bar.completed, bar.total))


def test_the_progress_bar_goes_on_where_it_was(fit):
    """RS-005"""
    text = TEXT.replace("accum_steps: 2", "accum_steps: 2, enable_progress_bar: true")
    stop = {"attempt": 1, "rank": 0, "place": "training", "epoch": 1, "batch": 5}
    fit(text, interruptions=[{**stop, "signal": "SIGUSR2"}])
    assert fit.outcome == "stopped"
    bar = Bar()
    fit(text, bar, resume=fit.last_run)
    assert bar.seen[0] == (1, 6, 7, 10)
    assert {(completed - batch, total) for _, batch, completed, total in bar.seen} == {(1, 10)}


def nothing(*_, **__):
    pass


def keep_old(item):
    """`RunCallback.load_state_dict`, but for one item."""
    load = RunCallback.load_state_dict

    def load_but_one(self, state):
        load(self, {**state, item: self.state_dict()[item]})

    return load_but_one


class WithoutWindows(RunCallback):
    """Stops after any micro-batch."""

    state_key = "RunCallback"

    def __init__(self, *parts, **options):
        super().__init__(*parts, **options)
        self._window = 1


class WithoutValue(RunCheckpoints):
    """Puts no monitored value into checkpoints after a resume."""

    def on_save_checkpoint(self, trainer, module, checkpoint):
        super().on_save_checkpoint(trainer, module, checkpoint)
        if self._rng is not None:
            checkpoint["monitored"] = None


class AppendsRows(RunCallback):
    """Writes the rows of the table twice."""

    state_key = "RunCallback"

    def write_rows(self):
        super().write_rows()
        path = self._task.run.metrics / "metrics.csv"
        path.write_text(path.read_text() + "".join(path.read_text().splitlines(True)[1:]))


MUTATIONS = {
    "weights": (SingleDeviceStrategy, "load_model_state_dict", nothing),
    "optimizer": (SingleDeviceStrategy, "load_optimizer_state_dict", nothing),
    "learning rate": (_CheckpointConnector, "restore_lr_schedulers", nothing),
    "plateau of the schedule": (PtychoModule, "on_load_checkpoint", nothing),
    "optimizer step": (_CheckpointConnector, "restore_loops", nothing),
    "position": (PtychoData, "load_state_dict", nothing),
    "random generator of Python": (random, "setstate", nothing),
    "random generator of NumPy": (np.random, "set_state", nothing),
    "random generator of torch": (torch, "set_rng_state", nothing),
    "rows of finished epochs": (RunCallback, "load_state_dict", keep_old("rows")),
    "sums of the unfinished epoch": (RunCallback, "load_state_dict", keep_old("epoch_sums")),
    "early stopping": (RunCallback, "load_state_dict", keep_old("patience")),
    "gradient of an open accumulation window": (assembly_room, "RunCallback", WithoutWindows),
    "validation that is to be done": (checkpoints_room, "begin_validation_anew", nothing),
    "best metric": (assembly_room, "RunCheckpoints", WithoutValue),
    "rows of metrics.csv": (assembly_room, "RunCallback", AppendsRows),
    "ledger": (ConsumedRanges, "add", nothing),
}


@pytest.mark.parametrize("item", MUTATIONS)
def test_an_item_that_is_lost_is_named(interrupted, monkeypatch, item):
    """RS-050: the mutation score of the drill; the first difference names the cause."""
    place, name, instead = MUTATIONS[item]
    lost = interrupted(lambda: monkeypatch.setattr(place, name, instead))
    assert lost, "the drill does not see it"
    assert lost[0].startswith(item), lost[:5]
