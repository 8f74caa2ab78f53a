"""Each field of model, training and data has an effect that shows in a whole training."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.training import TrainingConfig, TrainingSection
from ptycho_dist.data.formats import read_scan, write_scan
from ptycho_dist.data.simulate import SimulationSpec, labels_of, simulate
from ptycho_dist.errors import DataError, UserError
from ptycho_dist.models.cnn import PtychoCNN
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.physics.forward import diffraction_amplitude, smoothing_envelope
from ptycho_dist.reconstruction.trained import load_trained


def text(model="", training="", execution=""):
    return (
        f"model: {{n_filters_scale: 0.125, {model}}}\n"
        f"training: {{nepochs: 1, batch_size: 16, {training}}}\n"
        f"execution: {{accelerator: cpu, {execution}}}\n"
    )


def loss(fitted):
    with (fitted.run.metrics / "metrics.csv").open() as file:
        return float(next(csv.DictReader(file))["train_loss"])


def samples(fitted):
    return json.loads(fitted.run.result_json.read_text())["last_epoch"]["samples"]


# --- model -----------------------------------------------------------------------------------


@pytest.mark.effect("model.amp_activation")
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("softplus", 0, math.inf),
        ("sigmoid", 0, 2),
        ("relu", 0, math.inf),
        ("swish", 0, math.inf),
    ],
)
def test_each_activation_is_one_where_the_logit_is_zero(name, least, most):
    """DATA-090: and none is negative, which would be a phase of π."""
    from ptycho_dist.models.cnn import _ACTIVATIONS

    activation = _ACTIVATIONS[name]
    assert float(activation(torch.zeros(1))) == pytest.approx(1, abs=1e-6)
    values = activation(torch.linspace(-20, 20, 400))
    assert least <= float(values.min()) <= 0.01
    assert float(values.max()) <= most
    assert float(activation(torch.tensor(20.0))) > (1.99 if name == "sigmoid" else 19)


def patches(**model):
    torch.manual_seed(0)
    network = PtychoCNN(ModelConfig(n_filters_scale=0.125, **model))
    for head in (*network.amplitude.heads(), *network.phase.heads()):
        torch.nn.init.normal_(head.weight, std=0.3)
    return network, network(torch.rand(2, 1, 64, 64))


@pytest.mark.effect("model.probe_big", "model.pad_object", "model.n_filters_scale")
def test_what_the_heads_draw():
    """DATA-093: the border is 1 without a border branch; one head draws all without padding."""
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[16:48, 16:48] = True
    network, both = patches()
    assert len(network.phase.heads()) == 2
    assert (both[..., ~inside] - 1).abs().mean() > 0.01
    network, centre = patches(probe_big=False)
    assert len(network.phase.heads()) == 1
    torch.testing.assert_close(centre[..., ~inside], torch.ones_like(centre[..., ~inside]))
    assert (centre[..., inside] - 1).abs().mean() > 0.01
    network, whole = patches(pad_object=False)
    assert network.phase.centre.weight.shape[1] == 4  # all 32/8 channels of the decoder
    assert (whole[..., ~inside] - 1).abs().mean() > 0.01
    for name in ("probe_big", "pad_object"):
        network, drawn = patches(**{name: False})
        (drawn.real.sum() + drawn.imag.sum()).backward()  # DATA-091: DDP waits for each
        for parameter_name, parameter in network.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.any(), parameter_name
    wide, _ = patches()
    assert PtychoCNN(ModelConfig(n_filters_scale=0.5)).phase.up[0].weight.shape[0] == (
        4 * wide.phase.up[0].weight.shape[0]
    )


@pytest.mark.effect("model.probe_mask")
def test_the_mask_cuts_the_probe_to_a_disc_of_half_the_window(scan_file):
    """DATA-087: its energy remains that of the counts; a learned probe is masked too."""
    scan = read_scan(scan_file)
    probe = torch.from_numpy(scan.probe_PHW) + 0.1
    physics = ScanPhysics(probe, 1e4, trainable=True, model=ModelConfig(probe_mask=True))
    axis = torch.arange(64) - 32
    outside = axis[:, None] ** 2 + axis**2 > 16**2
    assert not physics.probe_PHW[:, outside].any()
    with torch.no_grad():
        physics.probe_parts += 1
    assert not physics.probe_PHW[:, outside].any()
    assert float((physics.probe_PHW.detach().abs() ** 2).sum()) == pytest.approx(1e4, rel=1e-4)
    plain = ScanPhysics(probe, 1e4, trainable=False)
    assert plain.probe_PHW[:, outside].abs().min() > 0
    with pytest.raises(UserError, match=r"model\.probe_mask: true, but the probe has no light"):
        ScanPhysics(probe * outside, 1e4, False, ModelConfig(probe_mask=True))


@pytest.mark.effect("model.gaussian_smoothing_sigma")
def test_smoothing_is_a_gaussian_on_the_exit_wave():
    """DATA-088: against a convolution with the sampled Gaussian."""
    from scipy.ndimage import gaussian_filter

    generator = torch.Generator().manual_seed(0)
    wave = torch.randn(1, 1, 32, 32, dtype=torch.complex64, generator=generator)
    probe = torch.ones(1, 32, 32, dtype=torch.complex64)
    smooth = [
        gaussian_filter(part.numpy(), 2.0, mode="wrap", truncate=8)
        for part in (wave[0, 0].real, wave[0, 0].imag)
    ]
    expected = diffraction_amplitude(
        torch.complex(*map(torch.from_numpy, smooth))[None, None], probe
    )
    found = diffraction_amplitude(wave, probe, smoothing_envelope(32, 2.0))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)
    model = ModelConfig(gaussian_smoothing_sigma=2.0)
    views = ScanPhysics(probe, 10.0, False, model).views(
        torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 2)
    )
    torch.testing.assert_close(views.envelope_HW, smoothing_envelope(32, 2.0))


@pytest.mark.effect("model.object_big", "model.gridsize")
def test_patches_of_a_group_are_merged_unless_object_big_is_off(fit):
    """DATA-089: without merging, a pattern is predicted from its own patch alone."""
    merged = fit(text("gridsize: 2"))
    alone = fit(text("gridsize: 2, object_big: false"))
    assert merged.data.train.group_size == 4
    batch = merged.data.train.collate(merged.data.train.__getitems__([0, 1]))
    with torch.no_grad():
        views = alone.module.physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
        own = alone.module.network.refine(0, torch.ones_like(views.probe_BCPHW[:, :, 0]), views)
        assert torch.equal(alone.module(views, batch["corner_BC2"]), own)
        assert not torch.equal(merged.module(views, batch["corner_BC2"]), own)


@pytest.mark.effect("model.architecture", "model.stages", "model.N")
def test_architecture_and_stages(fit):
    """DATA-094"""
    assert type(fit(text()).module.network).__name__ == "PtychoCNN"
    unrolled = fit(text("architecture: unrolled, stages: 2"))
    assert unrolled.module.network.stages == 2
    from ptycho_dist.data.opening import read_scan_of_size

    with pytest.raises(DataError, match=r"model\.N is 128"):
        read_scan_of_size(unrolled.run.config().data.train_data_file, 128)


# --- training --------------------------------------------------------------------------------


@pytest.mark.effect("training.nll_weight", "training.mae_weight")
def test_weights_of_the_losses(fit):
    """DATA-084"""
    poisson = loss(fit(text(training="nll_weight: 1.0")))
    half = loss(fit(text(training="nll_weight: 0.5")))
    both = loss(fit(text(training="nll_weight: 1.0, mae_weight: 1.0")))
    assert half == pytest.approx(poisson / 2, rel=0.02)
    assert both > poisson + 0.1


@pytest.mark.effect("training.intensity_scale_trainable")
def test_the_brightness_is_learned(fit):
    """DATA-097: it changes from 1, is part of the checkpoint, and has the network's step size."""
    fixed = fit(text())
    assert "physics.log_intensity_scale" not in fixed.module.state_dict()
    learned = fit(text(training="intensity_scale_trainable: true"))
    scale = float(learned.module.state_dict()["physics.log_intensity_scale"].exp())
    assert 0.9 < scale < 1.1
    assert scale != 1
    physics = learned.module.physics
    energy = float((physics.probe_PHW.abs() ** 2).sum().detach())
    assert energy == pytest.approx(scale**2 * learned.data.train.mean_total_counts, rel=1e-4)
    assert len(learned.trainer.optimizers[0].param_groups) == 1
    kept = load_trained(learned.run, torch.device("cpu"))
    assert kept.intensity_scale == pytest.approx(scale, rel=1e-6)
    assert load_trained(fixed.run, torch.device("cpu")).intensity_scale == 1


@pytest.fixture
def labelled(tmp_path):
    """A scan whose file holds the object patches."""
    scan, truth = simulate(SimulationSpec(n_patterns=37, n_photons=1e5))
    path = tmp_path / "labelled.npz"
    write_scan(path, dataclasses.replace(scan, label_MHW=labels_of(truth, scan)), {})
    return path


SUPERVISED = "model_type: supervised"


@pytest.mark.effect(
    "model.model_type", "training.realspace_weight", "training.realspace_mae_weight"
)
def test_supervised_training_learns_from_labels(fit, labelled):
    """DATA-SUP-001, DATA-111, DATA-112: the loss is the distance to the labels."""

    def train(training):
        file = f"train_data_file: {labelled}"
        return fit(text(SUPERVISED, f"nll_weight: 0, {training}"), data=file)

    absolute = train("realspace_mae_weight: 1.0")
    label_MHW = read_scan(labelled, with_labels=True).label_MHW
    batch = absolute.data.train.collate(absolute.data.train.__getitems__(range(37)))
    ratio = batch["label_BCHW"][:, 0].numpy() / label_MHW
    assert np.ptp(ratio.real) < 1e-5 * abs(ratio.mean())
    with torch.no_grad():
        views = absolute.module.physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
        object_BCHW = absolute.module(views, batch["corner_BC2"])
        losses = absolute.module.losses(batch)
    expected = (object_BCHW - batch["label_BCHW"]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    square = train("realspace_weight: 1.0")
    assert loss(square) != pytest.approx(loss(absolute), rel=1e-3)
    half = train("realspace_weight: 0.5")
    assert loss(half) == pytest.approx(loss(square) / 2, rel=0.05)


@pytest.mark.effect("model.model_type")
def test_supervised_without_labels_is_refused(fit, launch, tmp_path, labelled):
    """DATA-SUP-001, DATA-110: on the rank, and before anything is submitted."""
    config = text(SUPERVISED, "realspace_weight: 1.0")
    with pytest.raises(DataError, match="label is missing, but model_type supervised learns"):
        fit(config)
    run_yaml = tmp_path / "run.yaml"
    done = launch("validate", run_yaml)
    assert done.returncode == 2
    assert "model.model_type: supervised needs labels (DATA-SUP-001)" in done.stderr
    done = launch("validate", run_yaml, "--set", f"data.train_data_file={labelled}")
    assert done.returncode == 0, done.stderr


@pytest.mark.effect("training.nphotons")
def test_amplitudes_of_an_unverified_unit_are_scaled_to_nphotons(fit, scan_file, tmp_path, launch):
    """DATA-098: a file whose amplitudes are photons already is refused, by the plan too."""
    scan = read_scan(scan_file)
    path = tmp_path / "arbitrary.npz"
    unverified = dataclasses.replace(
        scan, diffraction_amp_MHW=scan.diffraction_amp_MHW * np.float32(0.3137), unit="unverified"
    )
    write_scan(path, unverified, {})
    file = f"train_data_file: {path}, test_data_file: {path}"
    fitted = fit(text(training="nphotons: 2.0e+4"), data=f"{file}, n_subsample: 20")
    assert fitted.data.test.mean_total_counts == pytest.approx(2e4, rel=1e-4)
    amp_MHW = fitted.data.train._amp_MHW.numpy()
    same = (np.abs(amp_MHW[0] - fitted.data.test._amp_MHW.numpy()) < 1e-6).all(axis=(1, 2))
    assert same.any(), "the factor is that of the file, whichever patterns are used"
    with pytest.raises(DataError, match=r"training\.nphotons: 20000, but .* photons already"):
        fit(text(training="nphotons: 2.0e+4"))
    done = launch("validate", tmp_path / "run.yaml")
    assert done.returncode == 2
    assert "training.nphotons: 20000, but the amplitudes of" in done.stderr
    done = launch("validate", tmp_path / "run.yaml", "--set", f"data.train_data_file={path}")
    assert done.returncode == 0, done.stderr


@pytest.mark.effect(
    "training.nepochs",
    "training.batch_size",
    "training.seed",
    "training.sequential_sampling",
    "training.probe_trainable",
    "training.probe_learning_rate",
)
def test_the_other_fields_of_training(fit):
    """LP-014, RD-050, REC-015"""

    class Order(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, trainer, module, batch, *_):
            self.seen.append(batch["index_B"].tolist())

    def run(training):
        order = Order()
        return fit(text(training=training).replace("nepochs: 1, ", "", 1), order), order.seen

    fitted, drawn = run("nepochs: 2")
    assert [len(batch) for batch in drawn] == [16, 16, 5] * 2
    assert drawn[:3] != drawn[3:]
    assert [index for batch in drawn[:3] for index in batch] != list(range(37))
    _, other = run("nepochs: 2, seed: 1")
    assert other != drawn
    fitted, ordered = run(
        "nepochs: 1, sequential_sampling: true, probe_trainable: true, probe_learning_rate: 0.02"
    )
    assert [index for batch in ordered for index in batch] == list(range(37))
    rates = [group["lr"] for group in fitted.trainer.optimizers[0].param_groups]
    assert rates == [1e-3, 0.02]


@pytest.mark.effect("training.positions_provided", "training.backend", "model.probe_scale")
@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (TrainingSection, {"positions_provided": False}, "positions must be in the scan file"),
        (TrainingSection, {"backend": "tensorflow"}, "only the PyTorch backend"),
        (ModelConfig, {"probe_scale": 4.0}, "follows from the photon counts"),
    ],
)
def test_what_has_one_value_is_refused_with_the_reason(kind, values, words):
    """EC-003"""
    with pytest.raises(ValueError, match=words) as caught:
        kind(**values)
    assert next(iter(values)) in str(caught.value)


@pytest.mark.effect("execution.pad_eval")
def test_pad_eval_is_refused_with_the_reason():
    """EC-003"""
    with pytest.raises(ValueError, match="pad_eval") as caught:
        PyTorchExecutionConfig(pad_eval=True)
    assert "the canvas holds every patch completely" in str(caught.value)


# --- data ------------------------------------------------------------------------------------


@pytest.mark.effect("data.n_subsample", "data.subsample_seed", "data.n_groups")
def test_a_subsample_is_drawn_before_the_groups(fit, scan_file):
    """DATA-046: in scan order, a smaller one part of a larger one; the plan counts it."""
    whole = read_scan(scan_file)

    def used(data):
        fitted = fit(text(), data=data)
        amp_MHW = fitted.data.train._amp_MHW.numpy()
        rows = [
            next(
                i for i, amp_HW in enumerate(whole.diffraction_amp_MHW) if np.array_equal(amp_HW, a)
            )
            for a in amp_MHW
        ]
        return rows, samples(fitted)

    twelve, count = used("n_subsample: 12")
    assert (len(twelve), count) == (12, 12)
    assert twelve == sorted(twelve)
    twenty, _ = used("n_subsample: 20")
    assert set(twelve) < set(twenty)
    other, _ = used("n_subsample: 12, subsample_seed: 5")
    assert other != twelve
    _, groups = used("n_subsample: 20, n_groups: 9")
    assert groups == 9


@pytest.mark.effect(
    "data.train_data_file", "data.test_data_file", "data.neighbor_count", "data.block_size"
)
def test_the_other_fields_of_data(fit, simulate, tmp_path):
    """DATA-042, REC-012"""
    test = simulate(tmp_path / "test.npz", n_patterns=16, seed=1)
    fitted = fit(text(), data=f"test_data_file: {test}, block_size: 5")
    assert fitted.data.train.group_size == 5
    assert fitted.data.test.n_patterns == 16
    assert json.loads(fitted.run.result_json.read_text())["last_epoch"]["val_loss"] is not None
    near = fit(text("gridsize: 2"), data="neighbor_count: 4").data.train._groups_GC
    far = fit(text("gridsize: 2"), data="neighbor_count: 20").data.train._groups_GC
    assert not np.array_equal(near, far)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": ModelConfig(object_big=False), "block": 4}, "model.object_big: false"),
        ({"training": TrainingSection(realspace_weight=1.0)}, "training.realspace_weight"),
        ({"model": ModelConfig(model_type="supervised")}, "model.model_type: supervised"),
        (
            {"execution": PyTorchExecutionConfig(middle_trim=66)},
            "execution.middle_trim: must be an even number up to model.N 64, found 66",
        ),
        (
            {"execution": PyTorchExecutionConfig(middle_trim=7)},
            "execution.middle_trim: must be an even number up to model.N 64, found 7",
        ),
    ],
)
def test_sections_that_contradict_each_other(sections, words):
    """EC-004"""
    data = DataConfig(train_data_file="a.npz", block_size=sections.pop("block", None))
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        RunConfig(name="a", data=data, **sections)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"architecture": "unrolled", "amp_activation": "relu"}, "amp_activation: 'relu'"),
        ({"architecture": "unrolled", "probe_big": False}, "probe_big: False"),
        ({"architecture": "unrolled", "gaussian_smoothing_sigma": 1.0}, "smoothing_sigma: 1.0"),
        ({"stages": 3}, "stages: 3, but only architecture unrolled uses it"),
        ({"pad_object": False, "probe_big": False}, "probe_big: false, but with pad_object"),
    ],
)
def test_fields_of_the_other_architecture_are_refused(fields, words):
    """EC-004"""
    with pytest.raises(ValueError, match=words):
        ModelConfig(**fields)


def test_the_canonical_config_is_the_sections_in_one():
    """EC-024"""
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    for section in (TrainingSection, DataConfig):
        assert {field.name for field in dataclasses.fields(section)} < names
    assert names >= {"model", "output_dir"}
