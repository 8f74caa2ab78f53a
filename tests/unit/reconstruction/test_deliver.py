"""What a reconstruction leaves behind (sections 4 and 5 of the reconstruction's spec)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.data.simulate import truth_path, write_truth
from ptycho_dist.errors import DataError, UserError
from ptycho_dist.reconstruction.deliver import ReconstructionSource, deliver
from ptycho_dist.reconstruction.stitch import StitchedObject

SCORES = {
    "data_consistency",
    "ssim_amplitude",
    "ssim_phase",
    "psnr_amplitude_db",
    "psnr_phase_db",
    "frc_resolution_px",
}


@pytest.fixture
def delivered(example, tmp_path):
    """Deliver an object as that of the example scan; into `tmp_path / "out"`."""

    def run(object_YX=None, *, scan=None, folder="out", **options):
        scan = scan or example.scan
        dataset = example.dataset(scan)
        if object_YX is None:
            object_YX = example.truth_YX
        lit_YX = np.zeros(dataset.layout.shape_YX, np.float32)
        for x, y in dataset.layout.corner_M2:
            lit_YX[y + 8 : y + 24, x + 8 : x + 24] += 1
        source = ReconstructionSource(
            tmp_path / "scan.npz", "run-1", "step-00000007", 3, 1.23456, "file"
        )
        return deliver(
            tmp_path / folder,
            StitchedObject(object_YX, lit_YX, 0.125, 0.5),
            scan,
            dataset.layout,
            example.physics(dataset).probe_PHW.numpy(),
            source,
            **options,
        )

    return run


@pytest.fixture
def truth_file(example, tmp_path):
    """Beside the scan file."""
    path = truth_path(tmp_path / "scan.npz")
    write_truth(path, example.truth, example.scan)
    return path


def metrics_in(folder: Path):
    """metrics.json, read by a parser that knows no NaN and no infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "metrics.json").read_text("utf-8"), parse_constant=refuse)


def test_the_object_file(example, delivered, tmp_path):
    """REC-030: as numbers and as places in the frame of the positions."""
    object_YX = (example.truth_YX * 0.5j).astype(np.complex64)
    done = delivered(object_YX)
    assert done.object_file == tmp_path / "out" / "object.h5"
    with h5py.File(done.object_file) as file:
        np.testing.assert_array_equal(file["object"], object_YX)
        assert file["object"].dtype == np.complex64
        assert file["weight"].dtype == np.float32
        assert file["weight"].shape == object_YX.shape
        assert file["probe"].dtype == np.complex64
        assert file["probe"].shape == (1, 32, 32)
        np.testing.assert_array_equal(file["x_px"], example.scan.x_px)
        np.testing.assert_array_equal(file["y_px"], example.scan.y_px)
        # 1e5 photons a pattern: the probe is in sqrt(counts)
        assert (np.abs(file["probe"][:]) ** 2).sum() == pytest.approx(1e5, rel=0.01)
        left, top = file["object"].attrs["origin_px"]
        for x, y in ((40, 44), (33, 57)):
            stored = file["object"][y - top, x - left]
            assert stored == np.complex64(0.5j * example.truth.object_YX[y, x])
        assert file.attrs["checkpoint"] == "step-00000007"
        assert file.attrs["run"] == "run-1"
        assert file.attrs["data_consistency"] == 0.125


def test_the_scores_of_the_truth_itself(example, delivered, truth_file, tmp_path):
    """REC-032, REC-034: the truth beside the scan is found; a flat guess is worse."""
    done = delivered(example.truth_YX + 1e-4)
    metrics = metrics_in(tmp_path / "out")
    assert metrics == json.loads(json.dumps(done.metrics))
    assert metrics["truth"] == str(truth_file)
    found, flat = metrics["reconstruction"], metrics["flat_guess"]
    assert set(found) == set(flat) == SCORES
    assert (found["data_consistency"], flat["data_consistency"]) == (0.125, 0.5)
    assert found["ssim_amplitude"] == pytest.approx(1, abs=1e-4)
    assert found["ssim_phase"] == pytest.approx(1, abs=1e-4)
    assert found["frc_resolution_px"] == 2.0
    assert max(flat["ssim_amplitude"], flat["ssim_phase"]) < 0.3
    assert flat["frc_resolution_px"] > 5
    assert min(found["psnr_amplitude_db"], found["psnr_phase_db"]) > 50
    assert max(flat["psnr_amplitude_db"], flat["psnr_phase_db"]) < 20
    curve = metrics["fourier_ring_correlation"]
    assert len({len(curve[name]) for name in curve}) == 1
    assert curve["correlation"] == pytest.approx([1] * len(curve["correlation"]), abs=1e-3)
    known = {"ranks": 3, "patterns": 100, "probe": "file", "checkpoint": "step-00000007"}
    assert known.items() <= metrics.items()


def test_scores_are_taken_between_the_outermost_positions(example, delivered, truth_file, tmp_path):
    """REC-040: whatever stands outside, and a factor and a ramp, change nothing."""
    layout, scan = example.layout, example.scan
    y, x = np.mgrid[: layout.shape_YX[0], : layout.shape_YX[1]]
    inside = (
        (x + layout.origin_px[0] >= scan.x_px.min())
        & (x + layout.origin_px[0] <= scan.x_px.max())
        & (y + layout.origin_px[1] >= scan.y_px.min())
        & (y + layout.origin_px[1] <= scan.y_px.max())
    )
    noisy = example.truth_YX + 0.1 * np.random.default_rng(0).standard_normal(x.shape)
    delivered(noisy)
    expected = metrics_in(tmp_path / "out")
    rows, columns = (slice(*expected["region_px"][name]) for name in ("rows", "columns"))
    region = np.zeros_like(inside)
    region[rows, columns] = True
    np.testing.assert_array_equal(region, inside)
    changed = np.where(inside, noisy, 0) * 3j * np.exp(0.02j * x - 0.01j * y)
    delivered(changed)
    for name, value in metrics_in(tmp_path / "out")["reconstruction"].items():
        assert value == pytest.approx(expected["reconstruction"][name], rel=1e-4), name


def test_a_score_that_does_not_exist_is_null(example, delivered, tmp_path):
    """REC-032: a pure phase object has no amplitude to compare; the picture is drawn."""
    pure = np.exp(1j * np.angle(example.truth.object_YX)).astype(np.complex64)
    truth = dataclasses.replace(example.truth, object_YX=pure)
    write_truth(truth_path(tmp_path / "scan.npz"), truth, example.scan)
    done = delivered()
    metrics = metrics_in(tmp_path / "out")
    for part in ("reconstruction", "flat_guess"):
        assert metrics[part]["ssim_amplitude"] is None
        assert metrics[part]["psnr_amplitude_db"] is None
        assert metrics[part]["ssim_phase"] is not None
    assert done.picture.stat().st_size > 10_000


def test_without_a_truth_there_is_r_alone(delivered, tmp_path):
    """REC-032"""
    delivered()
    metrics = metrics_in(tmp_path / "out")
    assert metrics["reconstruction"] == {"data_consistency": 0.125}
    assert metrics["flat_guess"] == {"data_consistency": 0.5}
    assert metrics["truth"] == "none: no truth file beside the data"
    assert "fourier_ring_correlation" not in metrics


def test_a_truth_may_be_named(delivered, truth_file, tmp_path):
    """REC-034"""
    elsewhere = truth_file.rename(tmp_path / "elsewhere.npz")
    delivered()
    assert metrics_in(tmp_path / "out")["truth"].startswith("none")
    delivered(truth_file=elsewhere)
    assert metrics_in(tmp_path / "out")["truth"] == str(elsewhere)


@pytest.mark.parametrize("fault", ["other positions", "too small", "no truth", "damaged"])
def test_a_wrong_truth_is_ignored_or_refused(example, delivered, truth_file, tmp_path, fault):
    """REC-034: with the reason in metrics.json, or where it was asked for by an error."""
    scan, truth = example.scan, example.truth
    if fault == "other positions":
        other = example.placed(scan.x_px[::-1], scan.y_px)
        write_truth(truth_file, truth, other)
        words = "belongs to another scan"
    elif fault == "too small":
        small = dataclasses.replace(truth, object_YX=truth.object_YX[:-8])
        write_truth(truth_file, small, scan)
        words = "smaller than the canvas"
    elif fault == "no truth":
        np.savez(truth_file, x_px=scan.x_px)
        words = "object_YX is missing"
    else:
        truth_file.write_bytes(truth_file.read_bytes()[:1000])
        words = str(truth_file)
    delivered()
    metrics = metrics_in(tmp_path / "out")
    assert metrics["truth"].startswith("none: ")
    assert words in metrics["truth"]
    assert set(metrics["reconstruction"]) == {"data_consistency"}
    with pytest.raises(DataError, match=words):
        delivered(truth_file=truth_file, folder="refused")
    assert not (tmp_path / "refused").exists()


def test_a_scan_too_small_to_be_scored(example, delivered, truth_file, tmp_path):
    """REC-032: 12 px between the outermost positions; everything else is written."""
    scan = example.part(np.r_[0:4, 10:14])
    shape = example.dataset(scan).layout.shape_YX
    write_truth(truth_file, example.truth, scan)
    done = delivered(np.ones(shape, np.complex64), scan=scan)
    metrics = metrics_in(tmp_path / "out")
    assert set(metrics["reconstruction"]) == {"data_consistency"}
    assert metrics["truth"] == str(truth_file)
    assert done.picture.stat().st_size > 10_000


def test_metrics_come_last_and_vouch_for_the_rest(delivered, tmp_path):
    """REC-035: where a file cannot be written, no metrics.json of an older object stays behind."""
    delivered()
    (tmp_path / "out" / "object.png").unlink()
    (tmp_path / "out" / "object.png").mkdir()
    with pytest.raises(UserError, match=r"/out: cannot be written: Is a directory") as caught:
        delivered()
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["object.h5", "object.png"]


@pytest.mark.parametrize("taken", ["out", "out/object.h5", "out/metrics.json"])
def test_a_folder_that_cannot_be_written(delivered, tmp_path, taken):
    """REC-035: one line, and nothing half-written."""
    path = tmp_path / taken
    if taken == "out":
        path.write_text("a file")
    else:
        path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"/out: cannot be written: (File exists|Is a directory)"):
        delivered()
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "out" / "metrics.json").is_file()


def test_it_is_written_over_an_older_one(example, delivered, tmp_path):
    delivered()
    delivered(0.5 * example.truth_YX, show_positions=True)
    with h5py.File(tmp_path / "out" / "object.h5") as file:
        np.testing.assert_array_equal(file["object"], 0.5 * example.truth_YX)
    names = ["metrics.json", "object.h5", "object.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
