"""`ptycho-infer` on a real checkpoint: what it writes is what the network makes of the scan."""

import functools
import importlib
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from waiting import HANG_S

from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.cli.infer import main
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.data import opening
from ptycho_dist.data.formats import read_scan, write_scan
from ptycho_dist.data.grouping import build_groups
from ptycho_dist.data.simulate import SimulationSpec, simulate, truth_path, write_truth
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.errors import UserError
from ptycho_dist.legacy import params
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.reconstruction.stitch import Worker, stitch
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.runtime.agreement import Agreement

FILES = ["metrics.json", "object.h5", "object.png"]


@pytest.fixture
def make_run(make_config, tmp_path):
    """A run with one checkpoint, of step 5, and its network; `probe` is one that it has learned."""

    def make(gridsize=1, architecture="cnn", probe=None, change=lambda network: None, sections=""):
        stages = ", stages: 3" if architecture == "unrolled" else ""
        text = (
            f"model: {{n_filters_scale: 0.125, gridsize: {gridsize}, "
            f"architecture: {architecture}{stages}}}\n"
        )
        if probe is not None:
            text += "training: {probe_trainable: true}\n"
        config = make_config(text + sections)
        groups = "neighbor_count: 9, subsample_seed: 4"
        config.write_text(config.read_text().replace("npz}", f"npz, {groups}}}"))
        loaded = read_run_config(config).sound()
        world = world_of(loaded.config, 37)
        run = prepare_run(tmp_path / "runs" / "r-1", loaded, RunPlan(world=world), None)
        torch.manual_seed(3)
        network = build_model(loaded.config.model).eval()
        change(network)
        state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        state["physics.input_scale"] = torch.tensor(0.1)
        if probe is None:
            probe = np.ones((1, 64, 64), np.complex64)  # of the training file: not to be used
        parts = torch.view_as_real(torch.from_numpy(probe).to(torch.complex64))
        state["physics.probe_parts"] = parts / parts.abs().max()
        attempt = begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"])
        RunCheckpointIO(run, attempt).save_checkpoint(
            {"global_step": 5, "state_dict": state}, run.checkpoints / checkpoint_name(5)
        )
        return run, network

    return make


@pytest.fixture(scope="module")
def scan_with_truth(tmp_path_factory):
    """49 patterns; the truth lies beside it."""
    path = tmp_path_factory.mktemp("known") / "test.npz"
    scan, truth = simulate(SimulationSpec(n_patterns=49, seed=2, n_photons=1e5))
    write_scan(path, scan, {})
    write_truth(truth_path(path), truth, scan)
    return path


def infer(run, scan_file, out, **changes):
    options = {
        "--model_path": run.path,
        "--test_data": scan_file,
        "--output_dir": out,
        "--accelerator": "cpu",
        **changes,
    }
    return main([str(word) for pair in options.items() for word in pair])


def one_error(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    return captured.err


def by_hand(network, scan_file, *, gridsize=1, neighbor_count=9, probe=None, n_groups=None):
    """The object as the stitch of all patterns gives it, and the groups."""
    scan = read_scan(scan_file)
    groups_GC = build_groups(
        scan.x_px,
        scan.y_px,
        gridsize=gridsize,
        neighbor_count=neighbor_count,
        n_groups=n_groups,
        seed=4,
    )
    dataset = GroupDataset(scan, groups_GC, one_canvas=True)
    probe = dataset.probe_PHW if probe is None else torch.from_numpy(probe).to(torch.complex64)
    physics = ScanPhysics(probe, dataset.mean_total_counts, trainable=False)
    worker = Worker(0, 1, torch.device("cpu"), Agreement(1), 64)
    return stitch(network, physics, dataset, worker), physics.probe_PHW.numpy()


def words(**options):
    """As `infer` takes them."""
    return {f"--{name.replace('_', '-')}": value for name, value in options.items()}


def metrics_in(out):
    return json.loads((out / "metrics.json").read_text())


@pytest.mark.parametrize(("gridsize", "architecture"), [(1, "cnn"), (3, "cnn"), (1, "unrolled")])
def test_object_and_consistency_are_those_of_the_network(
    make_run, scan_file, tmp_path, capsys, gridsize, architecture
):
    """REC-023, REC-030: from the checkpoint, with the scan's own probe and brightness."""
    run, network = make_run(gridsize, architecture)
    out = tmp_path / "out"
    assert infer(run, scan_file, out, **words(inference_batch_size=8)) == 0
    expected, probe = by_hand(network, scan_file, gridsize=gridsize)
    with h5py.File(out / "object.h5") as file:
        np.testing.assert_allclose(file["object"][:], expected.object_YX, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(file["weight"][:], expected.weight_YX, rtol=1e-5)
        np.testing.assert_allclose(file["probe"][:], probe, rtol=1e-5)
        assert file.attrs["checkpoint"] == "step-00000005"
    assert np.abs(expected.object_YX - 1).max() > 0.01
    metrics = metrics_in(out)
    assert metrics["reconstruction"]["data_consistency"] == pytest.approx(
        expected.data_consistency, rel=1e-4
    )
    assert (metrics["probe"], metrics["ranks"], metrics["patterns"]) == ("file", 1, 37)
    assert (metrics["run"], metrics["checkpoint"]) == ("r-1", "step-00000005")
    assert sorted(path.name for path in out.iterdir()) == FILES
    printed = capsys.readouterr().out
    assert str(out / "object.h5") in printed
    assert f"data_consistency       {expected.data_consistency:.4f}" in printed


def test_scores_are_printed_for_people_and_for_programs(
    make_run, scan_with_truth, tmp_path, capsys
):
    """REC-032: with those of the flat guess beside them."""
    run, _ = make_run(architecture="unrolled")
    assert infer(run, scan_with_truth, tmp_path / "out") == 0
    metrics = metrics_in(tmp_path / "out")
    assert metrics["truth"] == str(truth_path(scan_with_truth))
    lines = capsys.readouterr().out.splitlines()
    found, flat = metrics["reconstruction"], metrics["flat_guess"]
    assert lines[1:] == [
        f"{name:<20} {found[name]:>8.4f}   (flat guess {flat[name]:.4f})" for name in found
    ]
    assert len(lines) == 7
    assert found["ssim_phase"] > flat["ssim_phase"] + 0.2
    assert main(
        ["--model_path", str(run.path), "--test_data", str(scan_with_truth), "--json",
         "--output_dir", str(tmp_path / "other"), "--accelerator", "cpu"]
    ) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert said["ssim_phase"] == pytest.approx(found["ssim_phase"], rel=1e-6)
    assert said["object"] == str(tmp_path / "other" / "object.h5")
    assert said["accelerator"] == "cpu"


@pytest.fixture(scope="module")
def learned_probe(scan_file):
    """Two modes, the first half as wide as in the file."""
    axis = np.arange(64) - 32
    squared = axis[:, None] ** 2 + axis**2
    first = np.exp(-squared / 60 + 0.01j * squared)
    return np.stack([first, 0.2 * first * axis / 8]).astype(np.complex64)


@pytest.mark.effect("inference.probe")
@pytest.mark.parametrize("choice", ["auto", "learned", "file"])
def test_a_learned_probe_is_used_unless_that_of_the_file_is_asked_for(
    make_run, scan_file, learned_probe, tmp_path, choice
):
    """REC-015, REC-023: of the checkpoint, as bright as the scan is."""
    run, network = make_run(architecture="unrolled", probe=learned_probe)
    out = tmp_path / "out"
    assert infer(run, scan_file, out, **words(probe=choice)) == 0
    of_file = choice == "file"
    expected, probe = by_hand(network, scan_file, probe=None if of_file else learned_probe)
    with h5py.File(out / "object.h5") as file:
        assert file["probe"].shape == (1 if of_file else 2, 64, 64)
        np.testing.assert_allclose(file["probe"][:], probe, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(file["object"][:], expected.object_YX, rtol=1e-3, atol=1e-4)
    assert metrics_in(out)["probe"] == ("file" if of_file else "learned")


def test_a_probe_that_was_not_learned_cannot_be_used(make_run, scan_file, tmp_path, capsys):
    """REC-023"""
    run, _ = make_run()
    assert infer(run, scan_file, tmp_path / "out", **words(probe="learned")) == 2
    assert "the run did not learn a probe" in one_error(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.effect(
    "inference.n_groups",
    "inference.neighbor_count",
    "inference.model_path",
    "inference.test_data_file",
    "inference.output_dir",
)
def test_the_flags_choose_other_groups_than_the_run(make_run, scan_file, tmp_path):
    run, network = make_run(3)
    out = tmp_path / "out"
    assert infer(run, scan_file, out, **{"--neighbor_count": 20, "--n_images": 5}) == 0
    expected, _ = by_hand(network, scan_file, gridsize=3, neighbor_count=20, n_groups=5)
    with h5py.File(out / "object.h5") as file:
        np.testing.assert_allclose(file["weight"][:], expected.weight_YX, rtol=1e-5)
        np.testing.assert_allclose(file["object"][:], expected.object_YX, rtol=1e-4, atol=1e-5)
    assert (expected.weight_YX == 0).sum() > 0


@pytest.mark.effect("inference.show_positions")
def test_positions_are_drawn_if_asked_for(make_run, scan_file, tmp_path):
    """REC-031"""
    run, _ = make_run()
    flags = ["--model_path", run.path, "--test_data", scan_file, "--accelerator", "cpu"]
    pictures = []
    for name, further in (("bare", []), ("dotted", ["--show-positions"])):
        command = [*flags, "--output_dir", tmp_path / name, *further]
        assert main([str(word) for word in command]) == 0
        pictures.append((tmp_path / name / "object.png").read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.effect("inference.truth_file")
def test_a_truth_of_another_scan_is_refused_where_it_is_asked_for(
    make_run, scan_file, scan_with_truth, tmp_path, capsys
):
    """REC-034"""
    run, _ = make_run()
    other = truth_path(scan_with_truth)
    assert infer(run, scan_file, tmp_path / "out", **words(truth=other)) == 2
    assert "belongs to another scan: its positions differ" in one_error(capsys)
    assert infer(run, scan_file, tmp_path / "out", **words(truth=tmp_path / "none.npz")) == 2
    assert "no such file" in one_error(capsys)
    assert not (tmp_path / "out").exists()
    moved = tmp_path / "moved.npz"
    shutil.copy(other, moved)
    shutil.copy(scan_with_truth, tmp_path / "scan.npz")
    assert infer(run, tmp_path / "scan.npz", tmp_path / "out", **words(truth=moved)) == 0
    assert metrics_in(tmp_path / "out")["truth"] == str(moved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda amplitude: np.fft.fftshift(amplitude, axes=(-2, -1)), "in the corners (FFT order)"),
        (lambda amplitude: np.rint(amplitude**2), "holds counts, but amplitude is needed"),
    ],
)
def test_patterns_in_fft_order_and_counts_are_refused(
    make_run, scan_file, tmp_path, capsys, change, said
):
    """REC-051, DATA-022, DATA-023: before anything is computed or written."""
    run, _ = make_run()
    with np.load(scan_file) as file:
        arrays = {name: file[name] for name in file.files if name != "_metadata"}
    arrays["diff3d"] = change(arrays["diff3d"]).astype(np.float32)
    np.savez(tmp_path / "wrong.npz", **arrays)
    assert infer(run, tmp_path / "wrong.npz", tmp_path / "out") == 2
    assert said in one_error(capsys)
    assert not (tmp_path / "out").exists()


def test_a_network_that_has_diverged_is_one_line(make_run, scan_file, tmp_path, capsys):
    """Its object is not finite: nothing of it can be scored or shown."""

    def spoil(network):
        next(network.parameters()).data.fill_(float("nan"))

    run, _ = make_run(change=spoil)
    assert infer(run, scan_file, tmp_path / "out") == 1
    assert "the object is not finite" in one_error(capsys)
    assert not (tmp_path / "out").exists()


def test_a_damaged_newer_checkpoint_is_passed_over_with_a_warning(
    make_run, scan_file, tmp_path, capsys
):
    run, _ = make_run(1)
    newer = run.checkpoints / checkpoint_name(6)
    shutil.copytree(run.checkpoints / checkpoint_name(5), newer)
    os.truncate(newer / "state.ckpt", 100)
    assert infer(run, scan_file, tmp_path / "out") == 0
    warning = capsys.readouterr().err
    assert warning.startswith("warning: checkpoint passed over: step-00000006: state.ckpt: 100 b")
    assert len(warning.splitlines()) == 1
    assert metrics_in(tmp_path / "out")["checkpoint"] == "step-00000005"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--test_data": "/none.npz"}, "no such file"),
        ({"--test_data": "/dev/null/x.npz"}, "no such file"),
        ({"--test_data": "/" + "x" * 300}, "cannot be read"),
        ({"--test_data": "/"}, "/: "),
        ({"--model_path": "/none"}, "no such file"),
        ({"--model_path": "/dev/null"}, "/dev/null/run.json: cannot be read"),
        ({"--inference-batch-size": "0"}, "batch_size"),
        ({"--neighbor_count": "37"}, "needs 38"),
        ({"--output_dir": "/dev/null"}, "cannot be written: File exists"),
        ({"--output_dir": "/dev/null/x"}, "cannot be written: Not a directory"),
        ({"--accelerator": "tpu"}, "torch_xla"),
    ],
)
def test_wrong_input_is_one_line(make_run, scan_file, tmp_path, capsys, change, words):
    run, _ = make_run(2)
    assert infer(run, scan_file, tmp_path / "out", **change) == 2
    assert words in one_error(capsys)


def test_a_disk_that_fills_up_leaves_nothing(make_run, scan_file, tmp_path):
    """REC-035: a limit on the size of files stands for it, in a process of its own."""
    run, _ = make_run(1)
    out = tmp_path / "out"
    limited = (
        "import resource, sys; from ptycho_dist.cli.infer import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "--model_path", run.path, "--test_data", scan_file,
         "--output_dir", out, "--accelerator", "cpu"],
        capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert f"{out}: cannot be written: File too large" in done.stderr
    assert list(out.iterdir()) == []


def test_a_checkpoint_of_another_network(make_run, scan_file, tmp_path, capsys):
    run, _ = make_run(1)
    attempt = begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"])
    for step, state in ((6, {"state_dict": {"network.w": torch.zeros(3)}}), (7, {})):
        RunCheckpointIO(run, attempt).save_checkpoint(
            {"global_step": step, **state}, run.checkpoints / checkpoint_name(step)
        )
        assert infer(run, scan_file, tmp_path / "out") == 2
        assert f"step-{step:08d}: does not fit the network of run.json" in one_error(capsys)
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_checkpoint(make_run, scan_file, tmp_path, capsys):
    run, _ = make_run(1)
    for path in list(run.checkpoints.iterdir()):
        shutil.rmtree(path)
    assert infer(run, scan_file, tmp_path / "out") == 2
    assert "no checkpoint yet" in one_error(capsys)


def weight_of(out):
    with h5py.File(out / "object.h5") as file:
        return file["weight"][:]


@pytest.mark.effect("execution.middle_trim")
def test_only_the_middle_of_each_patch_is_stitched(make_run, scan_file, tmp_path, capsys):
    """REC-025: the rest of the canvas is lit by nobody; the merge is that of the cut patches."""
    run, _ = make_run()
    for name, trim in (("whole", 0), ("middle", 16)):
        assert infer(run, scan_file, tmp_path / name, **words(middle_trim=trim)) == 0
    capsys.readouterr()
    whole, middle = weight_of(tmp_path / "whole"), weight_of(tmp_path / "middle")
    assert whole.shape == middle.shape
    scan = read_scan(scan_file)
    covered = np.zeros(whole.shape, bool)
    layout = GroupDataset(scan, np.arange(37)[:, None], one_canvas=True).layout
    for x, y in layout.corner_M2:
        covered[y + 24 : y + 40, x + 24 : x + 40] = True
    assert np.array_equal(middle > 0, covered)
    assert (whole > 0).sum() > covered.sum()
    assert (middle <= whole * 1.0001).all()
    for trim in (15, 66):
        assert infer(run, scan_file, tmp_path / "odd", **words(middle_trim=trim)) == 2
        assert f"must be an even number up to model.N 64, found {trim}" in one_error(capsys)


@pytest.mark.effect("execution.inference_batch_size", "execution.num_workers")
def test_batches_and_workers_change_no_bit_that_matters(make_run, scan_file, tmp_path, monkeypatch):
    """REC-023, LI-040: batches are put together by workers that have the legacy values."""
    from ptycho_dist.reconstruction import stitch as room

    run, _ = make_run()
    sizes = []
    seen = room.merge_weights
    monkeypatch.setattr(
        room, "merge_weights", lambda probe: sizes.append(len(probe)) or seen(probe)
    )
    weights = []
    for number, options in enumerate(
        ({}, {"inference_batch_size": 5}, {"num_workers": 2, "inference_batch_size": 5})
    ):
        out = tmp_path / str(number)
        assert infer(run, scan_file, out, **words(**options)) == 0
        weights.append(weight_of(out))
    assert sizes == [32, 5] + [5] * 7 + [2] + [5] * 7 + [2]
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-5)
    np.testing.assert_array_equal(weights[2], weights[1])


@pytest.mark.effect("inference.n_subsample", "inference.subsample_seed")
def test_a_subsample_of_the_scan_is_reconstructed(make_run, scan_with_truth, tmp_path):
    """DATA-046; REC-034: the truth of the scan is that of its parts."""
    scan_file = scan_with_truth
    run, _ = make_run()
    outs = []
    for number, options in enumerate(({}, {"subsample_seed": 9})):
        outs.append(tmp_path / str(number))
        command = {"--n_subsample": 9, **{f"--{k}": v for k, v in options.items()}}
        assert infer(run, scan_file, outs[-1], **command) == 0
        assert metrics_in(outs[-1])["patterns"] == 9
        assert metrics_in(outs[-1])["truth"] == str(truth_path(scan_file))
        assert "ssim_amplitude" in metrics_in(outs[-1])["reconstruction"]
    with h5py.File(outs[0] / "object.h5") as one, h5py.File(outs[1] / "object.h5") as other:
        assert set(one["x_px"][:]) != set(other["x_px"][:])


@pytest.mark.effect("inference.model")
def test_a_network_that_was_not_expected_is_refused(make_run, scan_file, tmp_path):
    """REC-024"""
    from ptycho_dist.config.factory import create_inference_payload
    from ptycho_dist.config.model import ModelConfig
    from ptycho_dist.reconstruction.infer import infer as reconstruct

    run, _ = make_run()
    expected = ModelConfig(n_filters_scale=0.125)
    for model, words_of_it in ((expected, None), (ModelConfig(), "n_filters_scale 0.125")):
        payload = create_inference_payload(
            run.path, scan_file, tmp_path / "out", overrides={"model": model}
        )
        arguments = (payload.inference, payload.execution, torch.device("cpu"), 0, 1)
        if words_of_it is None:
            reconstruct(*arguments)
        else:
            with pytest.raises(UserError, match=f"{words_of_it}, but 2.0 was expected"):
                reconstruct(*arguments)


@pytest.mark.effect("inference.debug")
def test_debug_shows_the_traceback(make_run, tmp_path):
    """EC-037"""
    run, _ = make_run()
    with pytest.raises(UserError, match="no such file"):
        main(["--model_path", str(run.path), "--test_data", "none.npz", "--output_dir", "o",
              "--debug"])  # fmt: skip


@pytest.mark.effect("execution.enable_progress_bar")
def test_quiet_prints_the_files_alone(make_run, scan_file, tmp_path, capsys):
    run, _ = make_run()
    command = ["--model_path", run.path, "--test_data", scan_file, "--accelerator", "cpu"]
    assert main([*map(str, command), "--output_dir", str(tmp_path / "out"), "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


PEER = "legacy: {module: peer_params, attribute: settings}\n"


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """A foreign parameter module; gone again at the end."""
    (tmp_path / "peer_params.py").write_text("settings = {'N': 128, 'label': 'its own'}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "peer_params", None)
    del sys.modules["peer_params"]
    return importlib.import_module("peer_params")


@pytest.mark.parametrize("foreign", [False, True])
def test_the_data_is_read_with_the_legacy_globals_of_network_and_options(
    make_run, scan_file, tmp_path, monkeypatch, peer, foreign
):
    """LI-075: what is left open is that of the run; afterwards they are as before."""
    there = peer.settings if foreign else params.cfg
    before, seen = dict(there), []

    def reading(*arguments):
        seen.append((dict(there), params.cfg.sealed))
        return opening.read_scan_of_size(*arguments)

    monkeypatch.setattr("ptycho_dist.reconstruction.scan.read_scan_of_size", reading)
    run, _ = make_run(gridsize=2, sections=PEER if foreign else "")
    assert infer(run, scan_file, tmp_path / "out", **{"--subsample_seed": 6}) == 0
    ((values, sealed),) = seen
    expected = {"N": 64, "gridsize": 2, "n_filters_scale": 0.125, "neighbor_count": 9}
    expected |= {"subsample_seed": 6, "output_prefix": str(tmp_path / "out")}
    assert expected.items() <= values.items()
    assert sealed is not foreign
    assert ("label" in values) is foreign
    assert there == before


def test_a_worker_with_another_legacy_value_ends_it(
    make_run, scan_file, tmp_path, monkeypatch, peer, capsys
):
    """LI-074, LI-075: changed after the ranks have compared, before the workers start."""

    def reading(*arguments):
        peer.settings["N"] = 32
        return opening.read_scan_of_size(*arguments)

    monkeypatch.setattr("ptycho_dist.reconstruction.scan.read_scan_of_size", reading)
    forking = functools.partial(DataLoader, multiprocessing_context="fork")  # inherits the change
    monkeypatch.setattr("ptycho_dist.reconstruction.stitch.DataLoader", forking)
    run, _ = make_run(sections=PEER)
    out = tmp_path / "out"
    assert infer(run, scan_file, out, **words(num_workers=1)) == 1
    said = capsys.readouterr().err
    assert "DataLoader worker 0: peer_params.settings was changed" in said
    assert "N: 32 in place of 64" in said
    assert not (out / "object.h5").exists()
