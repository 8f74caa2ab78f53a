"""`ptycho-infer` on a real checkpoint: what it writes is what the network says."""

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
    def make(gridsize, neighbor_count=9):
        text = f"model: {{n_filters_scale: 0.125, gridsize: {gridsize}}}\n"
        config = make_config(text)
        config.write_text(
            config.read_text().replace("npz}", f"npz, neighbor_count: {neighbor_count}}}")
        )
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


@pytest.mark.parametrize("gridsize", [1, 3])
def test_patches_and_consistency_are_those_of_the_network(
    make_run, scan_file, tmp_path, capsys, gridsize
):
    run, network = make_run(gridsize)
    out = tmp_path / "out"
    arguments = ["--model_path", str(run.path), "--test_data", str(scan_file)]
    options = ["--output_dir", str(out), "--accelerator", "cpu", "--inference-batch-size", "8"]
    assert main([*arguments, *options]) == 0
    scan = read_scan(scan_file)
    groups_GC = build_groups(
        scan.x_px, scan.y_px, gridsize=gridsize, neighbor_count=9, n_groups=None, seed=0
    )
    dataset = GroupDataset(scan, groups_GC)
    measured = dataset.collate(dataset.__getitems__(range(len(dataset))))["amplitude_BCHW"]
    with torch.inference_mode():
        patches = network(dataset.normalisation * measured)
        probe = probe_scale(dataset.probe_PHW, dataset.mean_total_counts)
        predicted = diffraction_amplitude(patches, probe)
    consistency = float(((predicted - measured) ** 2).sum() / (measured**2).sum())
    with h5py.File(out / "object_patches.h5") as file:
        np.testing.assert_allclose(file["patches"][:], patches.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(file["x_px"][:], scan.x_px[groups_GC])
        assert file.attrs["data_consistency"] == pytest.approx(consistency, rel=1e-4)
        assert file.attrs["checkpoint"] == "step-00000005"
    assert list(out.iterdir()) == [out / "object_patches.h5"]
    assert f"{len(groups_GC) * gridsize**2} object patches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--test_data": "/none.npz"}, "no such file"),
        ({"--model_path": "/none"}, "no such file"),
        ({"--inference-batch-size": "0"}, "batch_size"),
        ({"--output_dir": "/dev/null/x"}, "cannot be made"),
        ({"--accelerator": "tpu"}, "torch_xla"),
    ],
)
def test_wrong_input_is_one_line(make_run, scan_file, tmp_path, capsys, change, words):
    run, _ = make_run(1)
    options = {
        "--model_path": str(run.path),
        "--test_data": str(scan_file),
        "--output_dir": str(tmp_path / "out"),
        "--accelerator": "cpu",
        **change,
    }
    assert main([word for pair in options.items() for word in pair]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_a_run_without_a_checkpoint(make_run, scan_file, tmp_path, capsys):
    run, _ = make_run(1)
    for path in list(run.checkpoints.iterdir()):
        RunCheckpointIO(run, None).remove_checkpoint(path)
    assert (
        main(
            ["--model_path", str(run.path), "--test_data", str(scan_file),
             "--output_dir", str(tmp_path / "out")]
        )
        == 2
    )  # fmt: skip
    assert "no checkpoint yet" in capsys.readouterr().err
