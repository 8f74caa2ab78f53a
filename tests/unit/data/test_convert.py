"""`ptycho-data convert` (section 8 of specs/data_contract.md)."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.cli.data import main
from ptycho_dist.data import convert, tike
from ptycho_dist.data.convert import convert_scan, cropped_probe
from ptycho_dist.data.formats import ScanData, read_scan, write_scan
from ptycho_dist.data.header import read_header
from ptycho_dist.data.simulate import SimulationSpec, expected_counts, simulate
from ptycho_dist.errors import DataError, UserError

TikeFile = Callable[..., Path]
REAL = Path(
    os.environ.get("PTYCHO_DIST_REAL_DATA", Path(__file__).resolve().parents[4] / "shared/data")
)


def tike_arrays(scan: ScanData) -> dict[str, np.ndarray]:
    """The scan in the other layout: counts, FFT order, (row, column), leading axes."""
    counts_MHW = np.rint(scan.diffraction_amp_MHW.astype(np.float64) ** 2).astype(np.float32)
    return {
        "data": np.fft.ifftshift(counts_MHW, axes=(-2, -1))[None],
        "probe": scan.probe_PHW[None, None, None],
        "scan": np.stack([scan.y_px, scan.x_px], axis=-1).astype(np.float32)[None],
    }


@pytest.fixture
def tike_file(small_scan: ScanData, tmp_path: Path) -> TikeFile:
    """Writes the small scan in tike's layout, with arrays replaced, added, or left out (None)."""

    def write(name: str = "in.npz", *, compressed: bool = False, **changes: object) -> Path:
        arrays = {**tike_arrays(small_scan), **changes}
        kept = {key: value for key, value in arrays.items() if value is not None}
        path = tmp_path / name
        plain = tmp_path / "plain.npz"
        (np.savez_compressed if compressed else np.savez)(plain, **kept)  # type: ignore[arg-type]
        if name.endswith(".bz2"):
            path.write_bytes(bz2.compress(plain.read_bytes(), 1))
            plain.unlink()
        else:
            plain.rename(path)
        return path

    return write


def refused(path: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line with which the command refuses; it leaves with 2 and leaves nothing behind."""
    before = sorted(out.parent.iterdir())
    assert main(["convert", str(path), str(out), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert sorted(out.parent.iterdir()) == before
    return lines[0]


@pytest.mark.parametrize("name", ["in.npz", "in.npz.bz2"])
@pytest.mark.parametrize("compressed", [False, True])
def test_unbinned_it_is_what_was_simulated(
    tike_file: TikeFile, small_scan: ScanData, tmp_path: Path, name: str, compressed: bool
) -> None:
    """DATA-100, DATA-101: the same bits as the scan that was written without the detour."""
    out = tmp_path / "out.npz"
    done = convert_scan(tike_file(name, compressed=compressed), out)
    write_scan(tmp_path / "direct.npz", small_scan, {})
    read, direct = read_scan(out), read_scan(tmp_path / "direct.npz")
    np.testing.assert_array_equal(read.diffraction_amp_MHW, direct.diffraction_amp_MHW)
    np.testing.assert_array_equal(read.probe_PHW, direct.probe_PHW)
    np.testing.assert_array_equal(read.x_px, direct.x_px.astype(np.float32))
    np.testing.assert_array_equal(read.y_px, direct.y_px.astype(np.float32))
    assert read.unit == "tagged"
    assert (done.n_patterns, done.N, done.probe_modes, done.warnings) == (40, 64, 1, ())
    assert read_header(out).n_patterns == 40


def test_leading_axes_other_keys_and_other_dtypes_do_not_matter(
    tike_file: TikeFile, small_scan: ScanData, tmp_path: Path
) -> None:
    """DATA-100: as in small files of the layout, and pickled extras stay pickled."""
    plain = tike_arrays(small_scan)
    bare = tike_file(
        "bare.npz",
        data=plain["data"][0].astype(">u4"),
        probe=plain["probe"][0, 0, 0, 0].astype(np.complex128),
        scan=plain["scan"][0].astype(np.float64),
        eigen_probe=np.array([{"a": 1}], dtype=object),
    )
    convert_scan(bare, tmp_path / "a.npz")
    convert_scan(tike_file(), tmp_path / "b.npz")
    a, b = read_scan(tmp_path / "a.npz"), read_scan(tmp_path / "b.npz")
    for name in ("diffraction_amp_MHW", "probe_PHW", "x_px", "y_px"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_each_probe_mode_is_kept(tike_file: TikeFile, tmp_path: Path) -> None:
    """DATA-101."""
    probe_PHW = cropped_probe(simulated_probe(64), 1)[0] * np.array([1, 0.5j])[:, None, None]
    convert_scan(tike_file(probe=probe_PHW[None, None, None]), tmp_path / "out.npz")
    kept_PHW = read_scan(tmp_path / "out.npz").probe_PHW
    np.testing.assert_array_equal(kept_PHW, probe_PHW.astype(np.complex64))


# Binning


def simulated_probe(size: int) -> np.ndarray:
    """(1, N, N): soft disc of N/2 px, curved phase."""
    return simulate(SimulationSpec(N=size, n_patterns=1))[1].probe_PHW


def fine_scan(N: int, bin_factor: int) -> tuple[ScanData, np.ndarray, np.ndarray]:
    """A noise-free scan on the grid of b·N pixels whose exit waves fit into N, and its object.

    Also the binned counts, summed pixel by pixel, (M, N, N).
    """
    size = bin_factor * N
    spec = SimulationSpec(N=size, n_patterns=36, step_px=5, jitter_px=2)
    scan, truth = simulate(spec)
    margin = (size - N) // 2
    probe_PHW = np.pad(simulated_probe(N), ((0, 0), (margin, margin), (margin, margin)))
    # At whole positions, as a shift of the probe by less than a pixel leaks out of its window.
    x_px, y_px = np.rint(scan.x_px), np.rint(scan.y_px)
    counts_MHW = expected_counts(truth.object_YX, probe_PHW, x_px, y_px)
    scale = 1e9 / counts_MHW.sum(axis=(1, 2)).mean()
    counts_MHW = np.rint(scale * counts_MHW)
    probe_PHW = (probe_PHW * np.sqrt(scale)).astype(np.complex64)
    binned_MHW = np.zeros((len(x_px), N, N))
    for row in range(size):
        for column in range(size):
            bin_ = row // bin_factor, column // bin_factor
            binned_MHW[:, bin_[0], bin_[1]] += counts_MHW[:, row, column]
    fine = ScanData(np.sqrt(counts_MHW), probe_PHW, x_px, y_px, "counts")
    return fine, truth.object_YX, binned_MHW


def mismatch(object_YX: np.ndarray, scan: ScanData, probe_PHW: np.ndarray | None = None) -> float:
    """Relative error of the predicted amplitude, with the scan's probe or another one."""
    probe_PHW = scan.probe_PHW if probe_PHW is None else probe_PHW
    amp_MHW = np.sqrt(expected_counts(object_YX, probe_PHW, scan.x_px, scan.y_px))
    measured_MHW = scan.diffraction_amp_MHW
    return float(np.linalg.norm(amp_MHW - measured_MHW) / np.linalg.norm(measured_MHW))


@pytest.mark.parametrize(("N", "bin_factor"), [(32, 2), (24, 4)])
def test_the_probe_of_binned_patterns_predicts_them(
    tmp_path: Path, N: int, bin_factor: int
) -> None:
    """DATA-102, DATA-103: same object, same positions; the ramp takes the shift away, and split
    modes are exact. Without a ramp, or with that of the other direction, patterns are off."""
    fine, object_YX, binned_MHW = fine_scan(N, bin_factor)
    np.savez(tmp_path / "in.npz", **{**tike_arrays(fine), "data": in_fft_order(fine)})
    convert_scan(tmp_path / "in.npz", tmp_path / "one.npz", bin_factor=bin_factor)
    one = read_scan(tmp_path / "one.npz")
    np.testing.assert_allclose(one.diffraction_amp_MHW**2, binned_MHW, rtol=1e-6)
    np.testing.assert_array_equal(one.x_px, fine.x_px)
    assert one.probe_PHW.shape == (1, N, N)
    with_ramp = mismatch(object_YX, one)
    assert with_ramp < 0.04

    margin = (fine.N - N) // 2
    bare_PHW = fine.probe_PHW[:, margin:-margin, margin:-margin]
    assert mismatch(object_YX, one, bare_PHW) > 3 * with_ramp
    axis = np.arange(N) - N // 2
    ramp_HW = np.exp(2j * np.pi * (bin_factor - 1) / (2 * fine.N) * (axis[:, None] + axis))
    other_way_PHW = bare_PHW * ramp_HW
    np.testing.assert_allclose(one.probe_PHW, bare_PHW / ramp_HW, rtol=1e-5, atol=1e-3)
    assert mismatch(object_YX, one, other_way_PHW) > 6 * with_ramp

    done = convert_scan(
        tmp_path / "in.npz", tmp_path / "split.npz", bin_factor=bin_factor, split_modes=True
    )
    split = read_scan(tmp_path / "split.npz")
    assert 1 < done.probe_modes == len(split.probe_PHW) <= bin_factor**2
    assert mismatch(object_YX, split) < 0.01 * with_ramp
    energy_P = (np.abs(split.probe_PHW) ** 2).sum(axis=(1, 2))
    assert np.all(energy_P[1:] <= energy_P[:-1] * 1.001)
    assert energy_P.sum() == pytest.approx((np.abs(bare_PHW) ** 2).sum(), rel=1e-4)


def in_fft_order(scan: ScanData) -> np.ndarray:
    """Counts beyond what float32 holds exactly, as a 64-bit detector file has them."""
    counts_MHW = np.rint(scan.diffraction_amp_MHW**2).astype(np.uint64)
    return np.fft.ifftshift(counts_MHW, axes=(-2, -1))[None]


def test_which_pixels_are_summed(tike_file: TikeFile, tmp_path: Path) -> None:
    """DATA-102: [N/2, N/2] takes the zero frequency and the next higher one of each axis."""
    data = np.zeros((40, 64, 64), np.uint16)
    data[:, [0, 0, 1, 1], [0, 1, 0, 1]] = [1, 20, 300, 4000]
    data[:, -1, -1] = 7  # the next lower ones
    convert_scan(tike_file(data=data), tmp_path / "out.npz", bin_factor=2)
    counts_HW = np.rint(read_scan(tmp_path / "out.npz").diffraction_amp_MHW[0] ** 2)
    assert (counts_HW[16, 16], counts_HW[15, 15], counts_HW.sum()) == (4321, 7, 4328)


@pytest.mark.parametrize(("factor", "words"), [(3, "power of two"), (0, "power of two"),
                                               (-2, "power of two"), (16, "does not fit"),
                                               (128, "does not fit")])  # fmt: skip
def test_a_factor_that_does_not_fit_is_refused(
    tike_file: TikeFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    factor: int,
    words: str,
) -> None:
    """DATA-104: 64 px over 16 would leave 4."""
    line = refused(tike_file(), tmp_path / "out.npz", capsys, "--bin", str(factor))
    assert words in line
    assert f"--bin {factor}" in line.replace(" is ", " ")


def test_an_n_that_becomes_odd_is_refused(tike_file: TikeFile, tmp_path: Path) -> None:
    """DATA-104: 36/4 = 9; and modes are split only where something is binned."""
    small = {"data": np.ones((40, 36, 36)), "probe": np.ones((36, 36), complex)}
    with pytest.raises(UserError, match="36/4 must be even"):
        convert_scan(tike_file(**small), tmp_path / "out.npz", bin_factor=4)
    with pytest.raises(UserError, match="--split-modes needs --bin 2"):
        convert_scan(tike_file(), tmp_path / "out.npz", split_modes=True)


# What the new file says


def test_metadata_tell_the_conversion(tike_file: TikeFile, tmp_path: Path) -> None:
    """DATA-105: and the same source gives the same bytes."""
    source = tike_file("in.npz.bz2")
    for name in ("a.npz", "b.npz"):
        convert_scan(source, tmp_path / name, bin_factor=2)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        entries = json.loads(str(arrays["_metadata"]))
    assert entries["diffraction_unit"] == "amplitude"
    told = entries["conversion"]
    assert told["source"] == "in.npz.bz2"
    assert told["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (told["source_layout"], told["bin"]) == ("tike", 2)
    assert told["by"] == f"ptycho-dist {version('ptycho-dist')}"
    with np.load(tike_file("again.npz")) as arrays:
        intensity_HW = np.abs(arrays["probe"][0, 0, 0, 0]) ** 2
    expected = intensity_HW[16:48, 16:48].sum() / intensity_HW.sum()
    assert told["probe_energy_kept"] == pytest.approx(expected, abs=1e-5)
    text = " | ".join(told["steps"])
    for words in ("fftshift", "2 × 2 counts summed", "square root", "(row, column)", "cropped"):
        assert words in text
    assert "exp(-2πi·0.25·(x + y)/N)" in text


def test_a_probe_that_is_cut_off_is_warned_of(
    tike_file: TikeFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DATA-105: below 90 %."""
    wide = tike_file(probe=np.ones((64, 64), np.complex64))
    assert main(["convert", str(wide), str(tmp_path / "out.npz"), "--bin", "2"]) == 0
    printed = capsys.readouterr()
    assert "40 patterns of 32 × 32 px" in printed.out
    assert "keeps only 25% of the probe's energy" in printed.err
    assert main(["convert", str(wide), str(tmp_path / "whole.npz")]) == 0
    assert capsys.readouterr().err == ""


def test_data_that_are_not_whole_are_not_vouched_for(
    tike_file: TikeFile, small_scan: ScanData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DATA-106: one value in the last pattern is enough."""
    data = tike_arrays(small_scan)["data"]
    data[0, -1, 0, 0] += 0.5
    assert main(["convert", str(tike_file(data=data)), str(tmp_path / "out.npz")]) == 0
    assert "warning: data are not whole numbers" in capsys.readouterr().err
    with np.load(tmp_path / "out.npz") as arrays:
        assert "diffraction_unit" not in json.loads(str(arrays["_metadata"]))


# What is refused


class Trap:
    """Unpickling this would end the test run."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.exit, ("an object array was unpickled",))


def with_value(value: float, index: int = 7) -> np.ndarray:
    data = np.ones((40, 64, 64), np.float32)
    data[index, 3, 5] = value
    return data


CENTRED = np.zeros((40, 64, 64))
CENTRED[:, 31:33, 31:33] = 100
FLAT = np.ones((40, 64, 64), np.float32)
PROBE = np.ones((64, 64), complex)

REFUSALS: list[tuple[dict[str, object], str]] = [
    ({"data": None}, "data missing (the file holds probe, scan)"),
    ({"probe": None, "scan": None}, "probe, scan missing (the file holds data)"),
    ({"data": np.array([Trap()] * 40, dtype=object)}, "data is an array of Python objects"),
    ({"probe": np.full((64, 64), Trap(), dtype=object)}, "probe is an array of Python objects"),
    ({"scan": np.full((40, 2), Trap(), dtype=object)}, "scan is an array of Python objects"),
    ({"data": FLAT.astype(complex)}, "data has dtype complex128"),
    ({"data": FLAT.astype(bool)}, "data has dtype bool"),
    ({"data": np.stack([FLAT, FLAT])}, "data has 2 angles"),
    ({"data": FLAT[:, :, :32]}, "data has shape (40, 64, 32)"),
    ({"data": FLAT[0]}, "data has shape (64, 64)"),
    ({"data": FLAT[None, None]}, "data has shape (1, 1, 40, 64, 64)"),
    ({"data": FLAT[:0]}, "data has shape (0, 64, 64)"),
    ({"data": np.asfortranarray(FLAT)}, "Fortran order"),
    ({"data": FLAT[:, :63, :63], "probe": PROBE[:63, :63]}, "must be even"),
    ({"data": FLAT[:39]}, "scan has shape (1, 40, 2) and dtype float32, but 39 patterns need"),
    ({"scan": np.zeros((2, 40, 2))}, "scan has shape (2, 40, 2)"),
    ({"scan": np.zeros((40, 3))}, "scan has shape (40, 3)"),
    ({"scan": np.full((40, 2), np.nan)}, "scan has 80 values that are not finite"),
    ({"scan": np.full((40, 2), "a")}, "scan has shape (40, 2) and dtype <U1"),
    ({"probe": PROBE[:32, :32]}, "probe has shape (32, 32)"),
    ({"probe": PROBE[0]}, "probe has shape (64,)"),
    ({"probe": np.stack([PROBE, PROBE])[:, None]}, "probe has shape (2, 1, 64, 64)"),
    ({"probe": PROBE.real}, "probe has dtype float64"),
    ({"probe": 0 * PROBE}, "probe is zero everywhere"),
    ({"probe": np.inf * PROBE.real + 0j}, "probe has 4096 values that are not finite"),
    ({"probe": np.fft.ifftshift(CENTRED[0]) + 0j}, "probe has its bright centre in the corners"),
    ({"data": with_value(-1)}, "data, pattern 7, has a negative value"),
    ({"data": with_value(np.nan)}, "data, pattern 7, has a value that is not finite"),
    ({"data": with_value(np.inf, 39)}, "data, pattern 39, has a value that is not finite"),
    ({"data": with_value(1.5).astype(np.float64) * 1e300}, "pattern 0, has a value that is not"),
    ({"data": 0 * FLAT}, "data is zero everywhere"),
    ({"data": CENTRED}, "data is already centred"),
    ({"data": np.sqrt(np.full((40, 64, 64), 3.0))}, "data holds square roots of counts"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSALS, ids=[words for _, words in REFUSALS])
def test_what_is_refused(
    tike_file: TikeFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    words: str,
) -> None:
    """DATA-107: one line that names file and finding, exit 2, nothing left behind."""
    path = tike_file("in.npz.bz2" if "Trap" in repr(changes) else "in.npz", **changes)
    line = refused(path, tmp_path / "out.npz", capsys)
    assert line.startswith("error: ")
    assert words in line
    assert "in.npz" in line or "--bin" in line


def test_files_of_other_formats_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tike_file: TikeFile
) -> None:
    """DATA-107: by what they begin with, whatever their name."""
    out, path = tmp_path / "out.npz", tmp_path / "in.npz"
    hdf5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
    for content, words in (
        (hdf5, "is an HDF5 file (CXI, NeXus)"),
        (bz2.compress(hdf5), "is an HDF5 file (CXI, NeXus)"),
        (b"", "not an .npz or .npz.bz2 file"),
        (b"some text", "not an .npz or .npz.bz2 file"),
        (bz2.compress(b"some text"), "not an .npz or .npz.bz2 file"),
        (tike_file("whole.npz").read_bytes()[:-100], "not an .npz or .npz.bz2 file"),
        (tike_file("whole.npz.bz2").read_bytes()[:-100], "is damaged"),
        (b"BZh9 and no more", "is damaged"),
    ):
        path.write_bytes(content)
        assert words in refused(path, out, capsys)
    assert "no such file" in refused(tmp_path / "absent.npz", out, capsys)
    assert "cannot be read" in refused(tmp_path, out, capsys)


def test_a_flipped_bit_is_found(
    tike_file: TikeFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DATA-107: the CRC of the patterns is checked though they are read in blocks."""
    path = tike_file()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is damaged (Bad CRC-32" in refused(path, tmp_path / "out.npz", capsys)


# Safety


def test_a_bomb_does_not_fill_the_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATA-108: 32 MiB in a few bytes, where 4 MiB are allowed, of either compression."""
    for module_limit in ("MOST_BYTES", "MOST_PROBE_BYTES"):
        monkeypatch.setattr(tike, module_limit, 4 << 20)
    data, probe, scan = np.zeros((2048, 64, 64), np.float32), np.ones((64, 64), complex), np.zeros
    bombs = {
        "bzip2.npz.bz2": None,
        "data.npz": {"data": data, "probe": probe, "scan": scan((2048, 2))},
        "probe.npz": {"data": data[:8], "probe": data + 0j, "scan": scan((8, 2))},
    }
    for name, arrays in bombs.items():
        path = tmp_path / name
        if arrays is None:
            path.write_bytes(bz2.compress(bytes(32 << 20)))
        else:
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    del data
    for name in bombs:
        tracemalloc.start()
        try:
            line = refused(tmp_path / name, tmp_path / "out.npz", capsys)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert str(4 << 20) in line
        assert peak_bytes < 16 << 20


def test_patterns_pass_through_memory_in_blocks(
    tike_file: TikeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATA-108: 2000 patterns are 31 MiB as they lie there, 125 MiB as amplitudes."""
    monkeypatch.setattr(tike, "_BLOCK_BYTES", 1 << 20)
    data = np.random.default_rng(0).integers(0, 9, (2000, 128, 128), np.uint8)
    path = tike_file(data=data, probe=np.ones((128, 128), complex), scan=np.zeros((2000, 2)))
    expected = np.sqrt(np.fft.fftshift(data[1234]).astype(np.float32))
    del data
    tracemalloc.start()
    try:
        convert_scan(path, tmp_path / "out.npz")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 48 << 20
    np.testing.assert_array_equal(
        read_scan(tmp_path / "out.npz").diffraction_amp_MHW[1234], expected
    )


def test_nothing_is_replaced_unless_forced(
    tike_file: TikeFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DATA-109: and the source never."""
    source, out = tike_file(), tmp_path / "out.npz"
    out.write_text("mine")
    assert f"{out} exists" in refused(source, out, capsys)
    assert out.read_text() == "mine"
    assert main(["convert", str(source), str(out), "--force"]) == 0
    assert read_scan(out).n_patterns == 40
    before = source.read_bytes()
    assert "is the file to convert" in refused(source, source, capsys, "--force")
    assert source.read_bytes() == before
    assert "must end in .npz" in refused(source, tmp_path / "out.h5", capsys)
    assert main(["convert", str(source), str(tmp_path / "absent/out.npz")]) == 2


def test_a_failure_in_the_middle_leaves_nothing(
    tike_file: TikeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATA-109: Ctrl-C, and a full disk, which is one line."""
    source = tike_file("in.npz.bz2")

    def failing(error: BaseException) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise error

        return fail

    monkeypatch.setattr(convert, "_write_amplitudes", failing(KeyboardInterrupt()))
    assert main(["convert", str(source), str(tmp_path / "out.npz")]) == 130
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(convert, "_write_amplitudes", failing(full))
    with pytest.raises(DataError, match=r"out.npz: cannot be written \(No space left on device\)"):
        convert_scan(source, tmp_path / "out.npz")
    assert list(tmp_path.iterdir()) == [source]


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["convert", "--help"])
    assert leaving.value.code == 0
    assert "Example: ptycho-data convert" in capsys.readouterr().out


# Measured data


def real_file(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is absent: PTYCHO_DIST_REAL_DATA names the folder it is in")
    return REAL / name


def amplitude_error(scan: ScanData, y_px: np.ndarray, x_px: np.ndarray) -> float:
    """What two sweeps of rPIE leave, Σ(Â − A)²/ΣA² of the second; object and probe are refined."""
    amp_MHW = np.fft.ifftshift(scan.diffraction_amp_MHW, axes=(-2, -1)).astype(np.float64)
    probe_HW = scan.probe_PHW[0].astype(np.complex128)
    probe_HW *= np.sqrt((amp_MHW**2).sum() / len(amp_MHW) / (np.abs(probe_HW) ** 2).sum())
    top_M, left_M = (np.rint(r - r.min()).astype(int) for r in (y_px, x_px))
    object_YX = np.ones((top_M.max() + scan.N, left_M.max() + scan.N), complex)
    for _ in range(2):
        squares = 0.0
        for index in np.random.default_rng(0).permutation(len(amp_MHW)):
            top, left, amp_HW = top_M[index], left_M[index], amp_MHW[index]
            patch_HW = object_YX[top : top + scan.N, left : left + scan.N]
            old_HW = patch_HW.copy()
            far_HW = np.fft.fft2(old_HW * probe_HW, norm="ortho")
            modulus_HW = np.abs(far_HW)
            squares += ((modulus_HW - amp_HW) ** 2).sum()
            corrected_HW = far_HW * (amp_HW / np.maximum(modulus_HW, 1e-9))
            change_HW = np.fft.ifft2(corrected_HW, norm="ortho") - old_HW * probe_HW
            for target_HW, other_HW in ((patch_HW, probe_HW.copy()), (probe_HW, old_HW)):
                weight_HW = np.abs(other_HW) ** 2
                target_HW += other_HW.conj() * change_HW / (0.2 * weight_HW + 0.8 * weight_HW.max())
    return float(squares / (amp_MHW**2).sum())


def test_the_measured_siemens_star(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DATA-101, DATA-102: counts are kept, and the axes are right: with them swapped or turned
    around a reconstruction is several times worse."""
    out = tmp_path / "star.npz"
    source = real_file("siemens-star-small.npz.bz2")
    assert main(["convert", str(source), str(out), "--bin", "2"]) == 0
    assert capsys.readouterr().err == ""
    scan = read_scan(out)
    assert (scan.n_patterns, scan.N, scan.unit) == (516, 64, "tagged")
    counts_M = np.sum(scan.diffraction_amp_MHW.astype(np.float64) ** 2, axis=(1, 2))
    assert counts_M.mean() == pytest.approx(461_213, abs=1)
    right = amplitude_error(scan, scan.y_px, scan.x_px)
    assert right < 0.06
    assert amplitude_error(scan, scan.x_px, scan.y_px) > 2 * right
    assert amplitude_error(scan, -scan.y_px, -scan.x_px) > 2 * right


def test_the_measured_near_field_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DATA-107."""
    path = real_file("PETRAIII_P25_Near_Field_Ptycho.cxi")
    assert "is an HDF5 file" in refused(path, tmp_path / "out.npz", capsys)
