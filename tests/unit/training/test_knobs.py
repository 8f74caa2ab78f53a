"""Each field of the execution config has its effect in a training (EC-050 to EC-059)."""

import csv
import json
import math

import pytest
import torch
from lightning.pytorch import Callback

from ptycho_dist.checkpoint.catalog import best_first, best_whole, committed, newest_whole
from ptycho_dist.checkpoint.state import read_state
from ptycho_dist.config import logger_package
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.consumed import expand
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.runtime.process_group import GUARD_FIRST_S
from ptycho_dist.training import loggers

SMALL = "model: {n_filters_scale: 0.125}\ntraining: {nepochs: %d, batch_size: 16}\n"


def text(epochs=3, model="", **execution):
    fields = ", ".join(f"{name}: {json.dumps(value)}" for name, value in execution.items())
    small = SMALL % epochs if not model else SMALL.replace("0.125", f"0.125, {model}") % epochs
    return small + f"execution: {{accelerator: cpu, {fields}}}\n"


def rows(run):
    with (run.metrics / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


class Values(Callback):
    """Replaces the losses of the epochs before the callback of the run sees them."""

    def __init__(self, values):
        self.values = list(values)

    def on_train_batch_end(self, trainer, module, *_):
        sums = module.train_sums
        sums._pending, sums._total = [], 0.0
        sums._total = self.values[trainer.current_epoch] * sums.count


class Watch(Callback):
    """Notes something at each optimizer step, or at the start."""

    def __init__(self, start=None, step=None):
        self.start, self.step, self.seen = start, step, []

    def on_train_start(self, trainer, module):
        if self.start:
            self.seen.append(self.start(trainer, module))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if self.step:
            self.seen.append(self.step(trainer, module))


# --- checkpoints -----------------------------------------------------------------------------

LOSSES = [5.0, 2.0, 4.0, 1.0, 3.0, 6.0]  # of the epochs; 3 optimizer steps each


@pytest.mark.effect("execution.checkpoint_save_top_k", "execution.checkpoint_mode")
@pytest.mark.parametrize(
    ("top_k", "mode", "epochs"),
    [
        (0, "min", [4, 5]),
        (1, "min", [3, 4, 5]),
        (2, "min", [1, 3, 4, 5]),
        (-1, "min", [0, 1, 2, 3, 4, 5]),
        (2, "max", [0, 4, 5]),
    ],
)
def test_the_newest_two_and_the_best_k_stay(fit, top_k, mode, epochs):
    """RD-042, EC-052"""
    fitted = fit(text(6, checkpoint_save_top_k=top_k, checkpoint_mode=mode), Values(LOSSES))
    assert [c.step // 3 - 1 for c in committed(fitted.run)] == epochs
    best = best_first(committed(fitted.run), mode)[0]
    expected = {0: 3.0, 1: 1.0, 2: 1.0 if mode == "min" else 6.0, -1: 1.0}[top_k]
    assert best.value == pytest.approx(expected)
    result = json.loads(fitted.run.result_json.read_text())["best"]
    assert result == {
        "metric": "poisson_train_loss",
        "value": pytest.approx(expected),
        "checkpoint": best.path.name,
    }


@pytest.mark.effect("execution.enable_checkpointing")
def test_without_checkpointing_the_end_is_committed_with_all_that_was_used(fit):
    """RD-042, RD-054, EC-053"""
    fitted = fit(text(3, enable_checkpointing=False))
    assert [checkpoint.step for checkpoint in committed(fitted.run)] == [9]
    used = [e for e in read_ledger(fitted.run) if e["event"] == "consumed"]
    assert [(e["epoch"], e["step"]) for e in used] == [(0, 9), (1, 9), (2, 9)]
    assert all(list(expand(event["ranges"])) == [(0, 37)] for event in used)
    assert len(rows(fitted.run)) == 3


@pytest.mark.effect("execution.checkpoint_monitor_metric")
@pytest.mark.parametrize(
    ("metric", "with_validation", "named"),
    [
        ("val_loss", True, "poisson_val_loss"),
        ("poisson_val_loss", True, "poisson_val_loss"),
        ("val_loss", False, "poisson_train_loss"),
        ("train_loss", True, "poisson_train_loss"),
    ],
)
def test_what_is_watched(fit, simulate, tmp_path, metric, with_validation, named):
    """EC-050, EC-051: the alias, the loss by its name, the train loss without validation data."""
    config = text(1, checkpoint_monitor_metric=metric)
    if with_validation:
        test = simulate(tmp_path / "test.npz", n_patterns=16, seed=1)
        fitted = fit(config, data=f"test_data_file: {test}")
    else:
        fitted = fit(config)
    best = json.loads(fitted.run.result_json.read_text())["best"]
    (row,) = rows(fitted.run)
    assert best["metric"] == named
    column = "val_loss" if "val" in named else "train_loss"
    assert best["value"] == pytest.approx(float(row[column]))


@pytest.mark.effect("execution.early_stop_patience", "execution.checkpoint_mode")
def test_early_stopping_follows_the_mode(fit):
    """EC-054"""
    patient = text(6, early_stop_patience=2, checkpoint_mode="max")
    fitted = fit(patient, Values([1.0, 2.0, 1.5, 1.6, 9.0, 9.0]))
    assert [row["epoch"] for row in rows(fitted.run)] == ["0", "1", "2", "3"]
    assert json.loads(fitted.run.result_json.read_text())["best"]["value"] == pytest.approx(2.0)


# --- the step --------------------------------------------------------------------------------


def gradient_norm(trainer, module):
    return float(torch.stack([p.grad.norm() for p in module.parameters()]).norm())


@pytest.mark.effect("execution.gradient_clip_val", "execution.gradient_clip_algorithm")
def test_clipping_bounds_the_gradient_of_each_step(fit):
    """EC-056: norm, value and agc, after accumulation."""

    class Clipped(Callback):
        def __init__(self):
            self.seen = []

        def on_before_zero_grad(self, trainer, module, optimizer):
            if all(p.grad is not None for p in module.parameters()):
                self.seen.append([p.grad.clone() for p in module.parameters()])

    def steps(**execution):
        clipped = Clipped()
        fit(text(1, accum_steps=2, **execution), clipped)
        return clipped.seen

    free = steps()[0]
    norm = math.sqrt(sum(float(g.norm()) ** 2 for g in free))
    assert norm > 1
    for step in steps(gradient_clip_val=0.5):
        total = math.sqrt(sum(float(g.norm()) ** 2 for g in step))
        assert total == pytest.approx(0.5, rel=1e-4)
    for step in steps(gradient_clip_val=1e-3, gradient_clip_algorithm="value"):
        assert max(float(g.abs().max()) for g in step) == pytest.approx(1e-3)
    for algorithm in ("norm", "agc"):
        unclipped = steps(gradient_clip_val=0.0, gradient_clip_algorithm=algorithm)[0]
        assert all(map(torch.equal, free, unclipped))
    adaptive = steps(gradient_clip_val=0.01, gradient_clip_algorithm="agc")[0]
    pairs = list(zip(free, adaptive, strict=True))
    for before, after in pairs:
        unit = (before.flatten(1) if before.dim() > 1 else before[None]).norm(dim=1)
        clipped = (after.flatten(1) if after.dim() > 1 else after[None]).norm(dim=1)
        assert (clipped <= unit * 1.001 + 1e-9).all()
    assert any(float(after.norm()) < 0.5 * float(before.norm()) for before, after in pairs)


@pytest.mark.effect("execution.precision")
def test_precision_is_that_of_the_convolutions(fit):
    """EC-055"""

    def dtypes(precision):
        seen = set()

        class Hook(Callback):
            def on_train_start(self, trainer, module):
                for part in module.modules():
                    if isinstance(part, torch.nn.Conv2d):
                        part.register_forward_hook(lambda *a: seen.add(a[2].dtype))

        fitted = fit(text(1, precision=precision), Hook())
        assert all(p.dtype == torch.float32 for p in fitted.module.parameters())
        return seen, float(rows(fitted.run)[0]["train_loss"])

    full, loss = dtypes("32-true")
    mixed, other = dtypes("bf16-mixed")
    assert (full, mixed) == ({torch.float32}, {torch.bfloat16})
    assert other == pytest.approx(loss, rel=0.05)
    assert other != loss


@pytest.mark.effect("execution.precision")
def test_half_precision_on_a_cpu_is_refused(fit):
    """EC-055: Lightning would only warn, and use bf16 instead."""
    with pytest.raises(UserError, match=r"16-mixed needs a GPU.*use bf16-mixed or 32-true"):
        fit(text(1, precision="16-mixed").replace("accelerator: cpu", "accelerator: auto"))


@pytest.mark.effect("execution.deterministic")
@pytest.mark.parametrize(("value", "seen"), [(True, (1, 0)), (False, (0, 0)), ("warn", (1, 1))])
def test_deterministic_algorithms(fit, value, seen):
    """EC-055"""
    watch = Watch(
        start=lambda *_: (
            int(torch.are_deterministic_algorithms_enabled()),
            int(torch.is_deterministic_algorithms_warn_only_enabled()),
        )
    )
    fit(text(1, deterministic=value), watch)
    assert watch.seen == [seen]


@pytest.mark.effect("execution.learning_rate", "execution.scheduler")
def test_the_step_size_and_its_course_through_accumulation_and_a_resume(fit):
    """EC-057: counted in optimizer steps, two of three micro-batches each, over both attempts."""

    def rate(trainer, module):
        return trainer.optimizers[0].param_groups[0]["lr"]

    class Interrupt(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2:
                raise KeyError("here")

    config = text(4, learning_rate=2e-3, scheduler="WarmupCosine", accum_steps=2)
    whole = Watch(step=rate)
    fitted = fit(config, whole)
    first, second = Watch(step=rate), Watch(step=rate)
    with pytest.raises(KeyError):
        fit(config, first, Interrupt())
    again = fit("", second, resume=fit.last_run)
    assert len(whole.seen) == 8
    assert first.seen + second.seen == whole.seen
    assert whole.seen[0] == pytest.approx(2e-3)
    cosine = [1e-3 * (1 + math.cos(math.pi * k / 7)) for k in range(7)]
    assert whole.seen[1:] == pytest.approx(cosine)
    for name, tensor in fitted.weights().items():
        assert torch.equal(tensor, again.weights()[name]), name


@pytest.mark.effect("execution.scheduler")
@pytest.mark.parametrize(
    ("scheduler", "epochs", "factors"),
    [
        ("Default", 3, [1, 1, 1]),
        ("Exponential", 3, [1, 0.95, 0.95**2]),
        ("MultiStage", 3, [1, 0.3, 0.1]),
        ("Adaptive", 9, [1] * 4 + [0.5] * 3 + [0.25] * 2),
        ("ReduceLROnPlateau", 13, [1] * 11 + [0.1] * 2),
    ],
)
def test_each_schedule_moves_the_step_size_as_specified(fit, scheduler, epochs, factors):
    """EC-057: with a loss that does not change, by epochs."""
    watch = Watch(step=lambda trainer, _: (trainer.current_epoch, rate_of(trainer)))
    fit(text(epochs, scheduler=scheduler, learning_rate=1e-4), Values([3.0] * epochs), watch)
    by_epoch = dict(watch.seen)
    assert [by_epoch[epoch] / 1e-4 for epoch in range(epochs)] == pytest.approx(factors)


def rate_of(trainer):
    return trainer.optimizers[0].param_groups[0]["lr"]


class Double(Callback):
    def on_train_start(self, trainer, module):
        views = module.double().physics.views
        module.physics.views = lambda amplitude, rest: views(amplitude.double(), rest.double())


@pytest.mark.effect("execution.accum_steps")
def test_accumulated_batches_have_the_gradient_of_one_large_batch(fit):
    """EC-058: k batches of 16/k and one of 16, k = 2, 4 and 16, the ragged window too.

    In float64, so that what is compared is the sum and not the rounding of its terms.
    """

    def gradients(batch, accum):
        watch = Watch(
            step=lambda _, module: torch.cat([p.grad.flatten() for p in module.parameters()])
        )
        config = text(1, learning_rate=1e-12, accum_steps=accum)
        fit(config.replace("batch_size: 16", f"batch_size: {batch}"), Double(), watch)
        return watch.seen

    whole = gradients(16, 1)
    assert len(whole) == 3
    for batch, accum in ((8, 2), (4, 4), (1, 16)):
        for one, other in zip(whole, gradients(batch, accum), strict=True):
            assert float((one - other).norm() / one.norm()) < 1e-9


@pytest.mark.effect("execution.accum_steps", "execution.strategy", "execution.collective_timeout_s")
def test_ranks_sum_their_gradients_once_for_each_optimizer_step(fit):
    """EC-058, RD-035: DDP communicates in the last micro-batch of a window only."""
    buckets = []

    def hook(_, bucket):
        buckets.append(bucket.index())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    class Count(Callback):
        def on_train_start(self, trainer, module):
            assert isinstance(trainer.strategy.model, torch.nn.parallel.DistributedDataParallel)
            trainer.strategy.model.register_comm_hook(None, hook)

    config = text(1, strategy="ddp", accum_steps=2, collective_timeout_s=77)
    fitted = fit(config.replace("batch_size: 16", "batch_size: 8"), Count())
    assert fitted.trainer.strategy._timeout.total_seconds() == 77 + GUARD_FIRST_S
    assert fitted.trainer.fit_loop.total_batch_idx + 1 == 5
    assert buckets.count(0) == fitted.trainer.global_step == 3
    alone = fit(text(1)).trainer.strategy
    assert type(alone).__name__ == "SingleDeviceStrategy"


# --- loaders, bar ------------------------------------------------------------------


@pytest.mark.effect(
    "execution.num_workers",
    "execution.pin_memory",
    "execution.persistent_workers",
    "execution.prefetch_factor",
)
def test_loaders_are_as_asked_for_and_the_weights_the_same(fit):
    """EC-059"""
    plain = fit(text(2))
    loader = plain.data.train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor) == (0, None)
    assert (loader.pin_memory, loader.persistent_workers) == (False, False)
    options = {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 3}
    with_workers = fit(text(2, **options, pin_memory=True))
    loader = with_workers.data.train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor) == (2, 3)
    assert (loader.pin_memory, loader.persistent_workers) == (True, True)
    for name, tensor in plain.weights().items():
        assert torch.equal(tensor, with_workers.weights()[name]), name


@pytest.mark.effect("execution.enable_progress_bar")
def test_the_bar_is_there_if_asked_for(fit, capsys):
    """EC-059"""
    assert fit(text(1)).trainer.progress_bar_callback is None
    assert "Epoch 0" not in capsys.readouterr().out
    assert fit(text(1, enable_progress_bar=True)).trainer.progress_bar_callback is not None
    assert "Epoch 0" in capsys.readouterr().out


# --- loggers ---------------------------------------------------------------------------------


@pytest.mark.effect("execution.logger_backend")
def test_csv_is_the_default_and_none_keeps_no_table(fit):
    """EC-060, CONFIG-LOGGER-001"""
    assert len(rows(fit(text(2)).run)) == 2
    silent = fit(text(2, logger_backend="none"))
    assert [each.name for each in silent.run.metrics.iterdir()] == ["steps"]  # by each rank, always
    assert json.loads(silent.run.result_json.read_text())["last_epoch"]["epoch"] == 1


@pytest.mark.effect("execution.logger_backend")
def test_tensorboard_has_each_epoch_once_across_attempts(fit):
    """EC-060: what a killed attempt wrote after its last checkpoint is removed."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    class Killed(Callback):
        def on_train_epoch_end(self, trainer, module):
            if trainer.current_epoch == 1:
                raise KeyError("here")

    config = text(3, logger_backend="tensorboard")
    with pytest.raises(KeyError):
        fit(config, Killed())
    fitted = fit("", resume=fit.last_run)
    events = accumulator.EventAccumulator(str(fitted.run.metrics / "tensorboard"))
    events.Reload()
    table = rows(fitted.run)
    losses = {e.step: e.value for e in events.Scalars("train_loss")}
    assert [e.step for e in events.Scalars("train_loss")] == [3, 6, 9]
    assert losses == {int(r["step"]): pytest.approx(float(r["train_loss"])) for r in table}


ROWS = [
    {"epoch": n, "step": 3 * n + 3, "train_loss": 9.0 - n, "val_loss": None, "learning_rate": 0.1}
    for n in range(4)
]


@pytest.mark.effect("execution.logger_backend")
def test_tensorboard_gets_the_epoch_that_was_committed_and_not_written(tmp_path):
    """EC-060: a kill just after the commit, and one just before it."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    given_up = {**ROWS[3], "train_loss": 77.0}
    loggers.open_logger("tensorboard", tmp_path)([*ROWS[:2], given_up])
    again = loggers.open_logger("tensorboard", tmp_path)
    again(ROWS[:3])
    again(ROWS)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for figure in ("train_loss", "learning_rate"):
        found = [(event.step, event.value) for event in events.Scalars(figure)]
        assert found == [(row["step"], pytest.approx(row[figure])) for row in ROWS]
    assert "val_loss" not in events.Tags()["scalars"]


@pytest.mark.effect("execution.logger_backend")
def test_mlflow_has_each_figure_once_across_attempts(tmp_path):
    """EC-060: a file store in the run directory; a kill may come between two figures."""
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path / "run-1" / "metrics"
    folder.mkdir(parents=True)
    loggers.open_logger("mlflow", folder)(ROWS[:2])
    client = mlflow.MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("ptycho-dist").experiment_id
    (kept,) = client.search_runs([experiment])
    client.log_metric(kept.info.run_id, "train_loss", ROWS[2]["train_loss"], step=9)
    again = loggers.open_logger("mlflow", folder)
    again(ROWS[:3])
    again(ROWS)
    assert len(client.search_runs([experiment])) == 1
    for figure in ("train_loss", "learning_rate"):
        found = [(m.step, m.value) for m in client.get_metric_history(kept.info.run_id, figure)]
        assert found == [(row["step"], row[figure]) for row in ROWS]


def test_a_logger_whose_package_is_absent_is_one_clear_line(monkeypatch):
    """EC-060"""
    monkeypatch.setattr(logger_package.importlib.util, "find_spec", lambda name: None)
    loggers.require_logger("csv")
    loggers.require_logger("none")
    with pytest.raises(UserError, match=r"mlflow needs the package mlflow.*pip install mlflow"):
        loggers.require_logger("mlflow")


# --- pictures --------------------------------------------------------------------------------


@pytest.mark.effect(
    "execution.recon_log_every_n_epochs",
    "execution.recon_log_num_patches",
    "execution.recon_log_fixed_indices",
    "execution.recon_log_stitch",
    "execution.recon_log_max_stitch_samples",
)
def test_pictures_come_every_n_epochs_and_change_nothing(fit, monkeypatch):
    """EC-061"""
    from ptycho_dist.training import epoch_pictures

    drawn, stitched = [], []
    draw, stitch = epoch_pictures._draw_patches, epoch_pictures.stitch

    def keep(*arguments):
        drawn.append(list(arguments[-1]))
        return draw(*arguments)

    monkeypatch.setattr(epoch_pictures, "_draw_patches", keep)
    plain = fit(text(4))
    monkeypatch.setattr(
        epoch_pictures, "stitch", lambda *a: stitched.append(len(a[2])) or stitch(*a)
    )
    logged = fit(
        text(
            4,
            recon_log_every_n_epochs=2,
            recon_log_num_patches=3,
            recon_log_stitch=True,
            recon_log_max_stitch_samples=9,
        )
    )
    folder = logged.run.reconstruction
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png")) == [
        "epoch-0001/object.png",
        "epoch-0001/patches.png",
        "epoch-0003/object.png",
        "epoch-0003/patches.png",
    ]
    assert drawn == [[0, 12, 24]] * 2
    assert stitched == [9, 9]
    for name, tensor in plain.weights().items():
        assert torch.equal(tensor, logged.weights()[name]), name
    fixed = fit(text(1, recon_log_every_n_epochs=1, recon_log_fixed_indices=[5, 30]))
    assert drawn[-1] == [5, 30]
    assert [p.name for p in fixed.run.reconstruction.rglob("*.png")] == ["patches.png"]


class StopAt(Callback):
    """Asks for a stop within a micro-batch, as a signal does."""

    def __init__(self, fit, epoch, batch):
        self.fit, self.when = fit, (epoch, batch)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.when:
            self.fit.stop.ask("SIGTERM")


def test_a_stop_in_mid_epoch_has_no_value_and_one_at_an_epochs_end_keeps_its_picture(fit):
    """RD-047, EC-052, EC-061: a finished epoch is not repeated for its picture."""

    def pictured():
        return sorted(p.parent.name for p in run.reconstruction.rglob("patches.png"))

    fit(text(3, recon_log_every_n_epochs=1), StopAt(fit, 1, 1))
    run = fit.last_run
    whole, stopped = committed(run)
    assert (whole.step, stopped.step, stopped.value) == (3, 5, None)
    assert best_whole(run, "max") == whole
    assert pictured() == ["epoch-0000"]
    fit("", StopAt(fit, 1, 2), resume=run)
    assert not run.result_json.exists()
    assert [checkpoint.step for checkpoint in committed(run)][-1] == 6
    assert pictured() == ["epoch-0000", "epoch-0001"]
    fit("", resume=run)
    assert pictured() == ["epoch-0000", "epoch-0001", "epoch-0002"]
    values = {checkpoint.value: checkpoint.path.name for checkpoint in committed(run)}
    assert json.loads(run.result_json.read_text())["best"]["checkpoint"] == values[min(values)]


def test_the_state_of_a_checkpoint_names_the_monitored_value(fit):
    """RD-047"""
    fitted = fit(text(1))
    newest, _ = newest_whole(fitted.run)
    (row,) = rows(fitted.run)
    assert newest.value == pytest.approx(float(row["train_loss"]))
    assert read_state(newest)["monitored"] == newest.value
