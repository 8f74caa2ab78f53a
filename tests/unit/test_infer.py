"""`ptycho-infer` on a real checkpoint: what it writes is what the network says."""

import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.cli.infer import main
from ptycho_dist.config.load import load_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.data.formats import read_scan
from ptycho_dist.data.grouping import build_groups
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.registry import build_model
from ptycho_dist.physics.forward import diffraction_amplitude, probe_scale
from ptycho_dist.rundir import begin_attempt, prepare_run


@pytest.fixture
def make_run(make_config, tmp_path):
    def make(gridsize, neighbor_count=9, subsample_seed=4):
        text = f"model: {{n_filters_scale: 0.125, gridsize: {gridsize}}}\n"
        config = make_config(text)
        groups = f"neighbor_count: {neighbor_count}, subsample_seed: {subsample_seed}"
        config.write_text(config.read_text().replace("npz}", f"npz, {groups}}}"))
        loaded = load_run_config(config)
        world = world_of(loaded.config, 37)
        run = prepare_run(tmp_path / "runs" / "r-1", loaded, {"world": world.to_json()}, None)
        torch.manual_seed(3)
        network = build_model(loaded.config.model)
        state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        attempt = begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"])
        RunCheckpointIO(run, attempt).save_checkpoint(
            {"global_step": 5, "state_dict": state}, run.checkpoints / checkpoint_name(5)
        )
        return run, network

    return make


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


@pytest.mark.parametrize("gridsize", [1, 3])
def test_patches_and_consistency_are_those_of_the_network(
    make_run, scan_file, tmp_path, capsys, gridsize
):
    run, network = make_run(gridsize)
    out = tmp_path / "out"
    assert infer(run, scan_file, out, **{"--inference-batch-size": 8}) == 0
    scan = read_scan(scan_file)
    groups_GC = build_groups(
        scan.x_px, scan.y_px, gridsize=gridsize, neighbor_count=9, n_groups=None, seed=4
    )
    dataset = GroupDataset(scan, groups_GC)
    assert len(dataset) == 37
    measured = dataset.collate(dataset.__getitems__(range(len(dataset))))["amplitude_BCHW"]
    with torch.inference_mode():
        patches = network(dataset.normalisation * measured)
        probe = probe_scale(dataset.probe_PHW, dataset.mean_total_counts)
        predicted = diffraction_amplitude(patches, probe)
    consistency = float(((predicted - measured) ** 2).sum() / (measured**2).sum())
    with h5py.File(out / "object_patches.h5") as file:
        assert file["patches"].shape == (37, gridsize**2, 64, 64)
        assert file["patches"].dtype == np.complex64
        np.testing.assert_allclose(file["patches"][:], patches.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(file["x_px"][:], scan.x_px[groups_GC])
        np.testing.assert_array_equal(file["y_px"][:], scan.y_px[groups_GC])
        assert 0 < file.attrs["data_consistency"] < 10
        assert file.attrs["data_consistency"] == pytest.approx(consistency, rel=1e-4)
        assert file.attrs["checkpoint"] == "step-00000005"
    assert list(out.iterdir()) == [out / "object_patches.h5"]
    assert f"{len(groups_GC) * gridsize**2} object patches" in capsys.readouterr().out


def test_the_flag_chooses_other_members_than_the_run(make_run, scan_file, tmp_path):
    run, _ = make_run(3)
    assert infer(run, scan_file, tmp_path / "out", **{"--neighbor_count": 20}) == 0
    scan = read_scan(scan_file)
    groups_GC = build_groups(
        scan.x_px, scan.y_px, gridsize=3, neighbor_count=20, n_groups=None, seed=4
    )
    with h5py.File(tmp_path / "out" / "object_patches.h5") as file:
        np.testing.assert_array_equal(file["x_px"][:], scan.x_px[groups_GC])


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
    with h5py.File(tmp_path / "out" / "object_patches.h5") as file:
        assert file.attrs["checkpoint"] == "step-00000005"


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


def test_a_place_that_is_taken_by_a_folder(make_run, scan_file, tmp_path, capsys):
    run, _ = make_run(1)
    taken = tmp_path / "out" / "object_patches.h5"
    taken.mkdir(parents=True)
    assert infer(run, scan_file, taken.parent) == 2
    assert "object_patches.h5: cannot be written: Is a directory" in one_error(capsys)
    assert list(taken.parent.iterdir()) == [taken]


@pytest.mark.parametrize("limit", [1000, 200_000])
def test_a_disk_that_fills_up_leaves_nothing(make_run, scan_file, tmp_path, limit):
    """A limit on the size of files stands for it, in a process of its own."""
    run, _ = make_run(1)
    out = tmp_path / "out"
    limited = (
        "import resource, sys; from ptycho_dist.cli.infer import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "--model_path", run.path, "--test_data", scan_file,
         "--output_dir", out, "--accelerator", "cpu"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "object_patches.h5: cannot be written" in done.stderr
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
