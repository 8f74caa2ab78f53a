"""Reading and writing scan files (section 1 of specs/data_contract.md)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.data import formats
from ptycho_dist.data.formats import ScanData, read_scan, write_scan
from ptycho_dist.errors import DataError

ScanFile = Callable[..., Path]


def assert_same_arrays(left: ScanData, right: ScanData) -> None:
    for name in ("diffraction_amp_MHW", "probe_PHW", "x_px", "y_px"):
        one, other = getattr(left, name), getattr(right, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)


def metadata(**entries: object) -> np.ndarray:
    return np.array(json.dumps(entries), dtype=np.str_)


def test_what_is_written_is_read_back(small_scan: ScanData, tmp_path: Path) -> None:
    """DATA-001, DATA-008."""
    write_scan(tmp_path / "scan.npz", small_scan, {"sample": "Siemens star"})
    read = read_scan(tmp_path / "scan.npz")
    assert_same_arrays(read, small_scan)
    assert read.unit == "tagged"
    with np.load(tmp_path / "scan.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"diff3d", "probeGuess", "xcoords", "ycoords", "_metadata"}
        assert json.loads(str(arrays["_metadata"])) == {
            "diffraction_unit": "amplitude",
            "sample": "Siemens star",
        }


def test_the_same_scan_gives_the_same_bytes(small_scan: ScanData, tmp_path: Path) -> None:
    write_scan(tmp_path / "a.npz", small_scan, {})
    write_scan(tmp_path / "b.npz", small_scan, {})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_an_unverified_unit_is_not_vouched_for(small_scan: ScanData, tmp_path: Path) -> None:
    """DATA-009."""
    scaled = ScanData(
        small_scan.diffraction_amp_MHW * np.float32(0.37),
        small_scan.probe_PHW,
        small_scan.x_px,
        small_scan.y_px,
        "unverified",
    )
    write_scan(tmp_path / "scan.npz", scaled, {})
    assert read_scan(tmp_path / "scan.npz").unit == "unverified"
    with pytest.raises(ValueError, match="unverified"):
        write_scan(tmp_path / "scan.npz", scaled, {"diffraction_unit": "amplitude"})
    with pytest.raises(ValueError, match="always amplitude"):
        write_scan(tmp_path / "scan.npz", small_scan, {"diffraction_unit": "counts"})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    small_scan: ScanData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATA-010: also when the write is interrupted in the middle."""
    path = tmp_path / "scan.npz"
    write_scan(path, small_scan, {})
    before = path.read_bytes()

    def interrupted(stream: object, **arrays: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(formats.np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scan(path, small_scan, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_data_error(
    small_scan: ScanData, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_scan(tmp_path / "absent" / "scan.npz", small_scan, {})


@pytest.mark.parametrize("compressed", [False, True])
def test_other_keys_are_ignored_and_object_arrays_among_them_stay_pickled(
    scan_file: ScanFile, small_scan: ScanData, compressed: bool
) -> None:
    """DATA-002, DATA-007."""
    path = scan_file(
        compressed=compressed,
        objectGuess=np.ones((9, 9), complex),
        label=np.array([{"a": 1}], dtype=object),
    )
    assert_same_arrays(read_scan(path), small_scan)


def test_the_alias_and_wider_dtypes_are_accepted(scan_file: ScanFile, small_scan: ScanData) -> None:
    """DATA-003, DATA-004."""
    path = scan_file(
        diff3d=None,
        diffraction=small_scan.diffraction_amp_MHW.astype(np.float64),
        probeGuess=small_scan.probe_PHW.astype(np.complex128),
    )
    assert_same_arrays(read_scan(path), small_scan)


def test_several_probe_modes(scan_file: ScanFile, small_scan: ScanData) -> None:
    modes_PHW = np.concatenate([small_scan.probe_PHW, 0.5j * small_scan.probe_PHW])
    np.testing.assert_array_equal(read_scan(scan_file(probeGuess=modes_PHW)).probe_PHW, modes_PHW)


@pytest.mark.parametrize("fortran", [False, True])
def test_the_legacy_layout_is_transposed(
    scan_file: ScanFile, small_scan: ScanData, fortran: bool
) -> None:
    """DATA-005: (N, N, M), in either order on disk."""
    legacy = np.moveaxis(small_scan.diffraction_amp_MHW, 0, 2)
    legacy = np.asfortranarray(legacy) if fortran else np.ascontiguousarray(legacy)
    assert_same_arrays(read_scan(scan_file(diff3d=legacy)), small_scan)


def test_a_cube_is_in_the_layout_of_the_contract(scan_file: ScanFile, small_scan: ScanData) -> None:
    """DATA-005: M = N does not tell the layouts apart, and (M, N, N) holds."""
    cube = small_scan.diffraction_amp_MHW[:32, 16:-16, 16:-16].copy()
    path = scan_file(
        diff3d=cube,
        probeGuess=small_scan.probe_PHW[0, 16:-16, 16:-16],
        xcoords=small_scan.x_px[:32],
        ycoords=small_scan.y_px[:32],
    )
    np.testing.assert_array_equal(read_scan(path).diffraction_amp_MHW, cube)


def test_metadata_that_is_pickled_counts_as_absent(scan_file: ScanFile) -> None:
    """DATA-007: the tag inside is not seen, so the values decide."""
    pickled = np.array([{"diffraction_unit": "intensity"}], dtype=object)
    assert read_scan(scan_file(_metadata=pickled)).unit == "counts"


class Trap:
    """Unpickling this would end the test run."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.exit, ("an object array was unpickled",))


def of_metadata(text: str) -> np.ndarray:
    return np.array(text, dtype=np.str_)


SHAPES = [
    ({"xcoords": None}, r"xcoords is missing \(the file holds diff3d, probeGuess, ycoords\)"),
    ({"ycoords": None}, "ycoords is missing"),
    ({"probeGuess": None}, "probeGuess is missing"),
    ({"diff3d": None}, "diff3d is missing"),
    ({"diff3d": None, "diffraction_patterns": np.ones((40, 64, 64))}, "intensities"),
    ({"xcoords": np.zeros(39)}, "xcoords has 39 positions and ycoords 40"),
    ({"xcoords": np.zeros((40, 1))}, r"xcoords has shape \(40, 1\)"),
    ({"xcoords": np.array(["a"] * 40)}, "xcoords has shape"),
    ({"ycoords": np.full(40, np.nan)}, "ycoords has 40 values that are not finite"),
    ({"xcoords": np.zeros(0), "ycoords": np.zeros(0)}, "xcoords is empty"),
    ({"diff3d": np.zeros((39, 64, 64))}, r"diff3d has shape \(39, 64, 64\), but 40 positions"),
    ({"diff3d": np.zeros((40, 64, 32))}, "diff3d has shape"),
    ({"diff3d": np.zeros((40, 64))}, "diff3d has shape"),
    ({"diff3d": np.zeros((40, 63, 63))}, "N must be even"),
    ({"diff3d": np.zeros((40, 64, 64), complex)}, "amplitudes are real"),
    ({"probeGuess": np.ones((32, 32), complex)}, r"probeGuess has shape \(32, 32\)"),
    ({"probeGuess": np.ones((0, 64, 64), complex)}, "probeGuess has shape"),
    ({"probeGuess": np.ones((1, 1, 64, 64), complex)}, "probeGuess has shape"),
    ({"probeGuess": np.ones((64, 64))}, "the probe must be complex"),
    ({"probeGuess": np.zeros((64, 64), complex)}, "probeGuess is zero everywhere"),
    ({"probeGuess": np.full((64, 64), np.nan + 0j)}, "not finite"),
    ({"probeGuess": np.full((64, 64), 1e300 + 0j)}, "not finite"),
    ({"diff3d": np.array([Trap()] * 40, dtype=object)}, "diff3d has shape"),
    ({"probeGuess": np.array([Trap()], dtype=object)}, "Python objects, which is never"),
    ({"xcoords": np.array([Trap()] * 40, dtype=object)}, "Python objects, which is never"),
    ({"_metadata": of_metadata("amplitude")}, "_metadata is not a JSON object"),
    ({"_metadata": np.arange(3)}, "_metadata is not a JSON object"),
]


@pytest.mark.parametrize(("changes", "message"), SHAPES, ids=[text for _, text in SHAPES])
def test_what_the_contract_does_not_allow_is_refused(
    scan_file: ScanFile, changes: dict[str, object], message: str
) -> None:
    """DATA-006, DATA-012: one line that names the file."""
    path = scan_file(**changes)
    with pytest.raises(DataError, match=message) as refusal:
        read_scan(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_a_missing_file_a_folder_and_another_kind_of_file(tmp_path: Path) -> None:
    """DATA-011."""
    with pytest.raises(DataError, match="no such file"):
        read_scan(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="cannot be read"):
        read_scan(tmp_path)
    (tmp_path / "text.npz").write_text("x, y\n1, 2\n")
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read_scan(tmp_path / "text.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read_scan(tmp_path / "single.npy")


def tiny_file(path: Path, compressed: bool) -> ScanData:
    """A file small enough that a random byte often matters."""
    generator = np.random.default_rng(0)
    amp_MHW = np.sqrt(generator.poisson(3.0, (3, 8, 8))).astype(np.float32)
    probe_HW = np.ones((8, 8), np.complex64)
    save = np.savez_compressed if compressed else np.savez
    save(path, diff3d=amp_MHW, probeGuess=probe_HW, xcoords=np.arange(3.0), ycoords=np.zeros(3))
    return read_scan(path)


@settings(max_examples=150)
@given(compressed=st.booleans(), fraction=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_always_refused(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, fraction: float
) -> None:
    """DATA-011."""
    path = tmp_path_factory.getbasetemp() / "truncated.npz"
    tiny_file(path, compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(DataError):
        read_scan(path)


@settings(max_examples=300)
@given(compressed=st.booleans(), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, place: float, bit: int
) -> None:
    """DATA-011: damage never changes the data, and never shows as anything but a DataError."""
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    whole = tiny_file(path, compressed)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        read = read_scan(path)
    except DataError:
        return
    assert_same_arrays(read, whole)


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    """DATA-011: refused before anything of that size is allocated; the zip itself is in order."""
    honest, lying = tmp_path / "honest.npz", tmp_path / "lying.npz"
    tiny_file(honest, compressed=False)
    with zipfile.ZipFile(honest) as source, zipfile.ZipFile(lying, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "diff3d.npy":
                true_shape, false_shape = b"(3, 8, 8), }", b"(3, 80000000, 80000000), }"
                padding = b" " * (len(false_shape) - len(true_shape))
                assert true_shape + padding in content
                content = content.replace(true_shape + padding, false_shape)
            target.writestr(name, content)
    with pytest.raises(DataError, match="its header promises"):
        read_scan(lying)
