"""What a run's loss is called, and which fields about it need others (EC-050, EC-004)."""

import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.monitor import loss_of, monitor_of, unknown_metric
from ptycho_dist.config.plain_data import decode_run_config


def config(model=None, metric="val_loss", test=None, **training):
    sections = {"data": {"train_data_file": "x.npz", "test_data_file": test}}
    execution = {"checkpoint_monitor_metric": metric}
    sections.update(model=model or {}, training=training, execution=execution)
    return decode_run_config({"name": "a", **sections}, "test")


SUPERVISED = {"model_type": "supervised"}


@pytest.mark.parametrize(
    ("model", "weights", "name"),
    [
        ({}, {}, "poisson"),
        ({}, {"nll_weight": 0.0, "mae_weight": 0.5}, "mae"),
        ({}, {"nll_weight": 1.0, "mae_weight": 0.5}, "mixed"),
        (SUPERVISED, {"nll_weight": 0.0, "realspace_mae_weight": 1.0}, "realspace"),
        (SUPERVISED, {"nll_weight": 1.0, "realspace_weight": 1.0}, "mixed"),
    ],
)
def test_the_loss_is_called_by_its_weights(model, weights, name):
    """EC-050: and no other loss is this run's."""
    assert loss_of(config(model, **weights)) == name
    for metric in ("val_loss", "train_loss", f"{name}_val_loss", f"{name}_train_loss"):
        assert unknown_metric(config(model, metric, **weights)) == ""
    other = "mae_val_loss" if name != "mae" else "poisson_val_loss"
    assert unknown_metric(config(model, other, **weights)).startswith(f"{other}, but this run has")
    assert monitor_of(config(model, **weights)).name == f"{name}_train_loss"
    with_test = config(model, test="t.npz", **weights)
    assert monitor_of(with_test).name == f"{name}_val_loss"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"recon_log_stitch": True}, "needs recon_log_every_n_epochs"),
        ({"recon_log_fixed_indices": (1,)}, "needs recon_log_every_n_epochs"),
        (
            {"recon_log_every_n_epochs": 1, "recon_log_max_stitch_samples": 9},
            "needs recon_log_stitch",
        ),
        ({"recon_log_every_n_epochs": 1, "recon_log_fixed_indices": ()}, "at least 1"),
        ({"checkpoint_monitor_metric": "loss"}, "checkpoint_monitor_metric"),
    ],
)
def test_fields_without_what_they_need_are_refused(fields, words):
    """EC-002, EC-004"""
    with pytest.raises(ValueError, match=words):
        PyTorchExecutionConfig(**fields)
