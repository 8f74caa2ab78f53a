"""The header reader (section 3 of the data contract)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from waiting import HANG_S

from ptycho_dist.data import npz
from ptycho_dist.data.formats import ScanData, read_scan
from ptycho_dist.data.header import DataHeader, main, read_header
from ptycho_dist.errors import DataError

ScanFile = Callable[..., Path]


@pytest.mark.parametrize("compressed", [False, True])
def test_the_header_of_a_file(scan_file: ScanFile, compressed: bool) -> None:
    """DATA-030."""
    path = scan_file(compressed=compressed)
    assert read_header(path) == DataHeader(
        path=str(path),
        n_patterns=40,
        N=64,
        probe_modes=1,
        unit="counts",
        dtype="float32",
        size_bytes=path.stat().st_size,
        has_labels=False,
    )


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (np.ones((40, 64, 64), np.complex64), None),
        (None, "label is missing"),
        (np.ones((40, 64, 64), np.float32), "dtype float32"),
        (np.ones((39, 64, 64), np.complex64), r"shape \(39, 64, 64\)"),
        (np.array([{"a": 1}], dtype=object), "dtype object"),
        (np.full((40, 64, 64), np.nan, np.complex64), "not finite"),
        (np.zeros((40, 64, 64), np.complex64), "zero everywhere"),
    ],
)
def test_labels_are_announced_and_judged(
    scan_file: ScanFile, label: np.ndarray | None, words: str | None
) -> None:
    """DATA-110: by shape and dtype in the header, by their values when they are read."""
    path = scan_file(label=label)
    by_value = words in ("not finite", "zero everywhere")
    assert read_header(path).has_labels == (words is None or by_value)
    read_scan(path)  # whoever does not learn from them does not care (DATA-002)
    if words is None:
        np.testing.assert_array_equal(read_scan(path, with_labels=True).label_MHW, label)
    else:
        with pytest.raises(DataError, match=words):
            read_scan(path, with_labels=True)


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("frame_axis", [0, 2])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_leading_patterns_are_those_of_the_whole(
    scan_file: ScanFile, small_scan: ScanData, fortran: bool, frame_axis: int, compressed: bool
) -> None:
    """DATA-031: header and reader judge the same patterns, however they lie on disk."""
    stored = np.moveaxis(small_scan.diffraction_amp_MHW, 0, frame_axis)
    stored = np.asfortranarray(stored) if fortran else np.ascontiguousarray(stored)
    path = scan_file(diff3d=stored, compressed=compressed)
    with npz.open_npz(path) as reader:
        leading = reader.leading(reader.member("diff3d"), frame_axis=frame_axis, count=32)
    np.testing.assert_array_equal(leading, small_scan.diffraction_amp_MHW[:32])
    assert read_header(path).n_patterns == 40


def test_damage_behind_the_leading_patterns_is_seen_but_in_large_files(
    scan_file: ScanFile, small_scan: ScanData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATA-031: of a large file only the full reader sees it."""
    path = scan_file()
    content = bytearray(path.read_bytes())
    last = content.find(small_scan.diffraction_amp_MHW[39].tobytes())
    assert last > 0
    content[last + 999] ^= 1
    path.write_bytes(content)
    for reader in (read_header, read_scan):
        with pytest.raises(DataError, match="diff3d is damaged"):
            reader(path)
    monkeypatch.setattr("ptycho_dist.data.header.READ_THROUGH_BYTES", 1000)
    assert read_header(path).unit == "counts"


@pytest.mark.parametrize("key", ["probeGuess", "xcoords", "ycoords"])
def test_damage_in_the_small_arrays_is_seen(scan_file: ScanFile, key: str) -> None:
    """DATA-031."""
    path = scan_file()
    with np.load(path) as arrays:
        stored = arrays[key].tobytes()
    content = bytearray(path.read_bytes())
    place = content.find(stored) + len(stored) // 2
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{key} is damaged"):
        read_header(path)


def test_header_and_reader_refuse_alike(scan_file: ScanFile, small_scan: ScanData) -> None:
    """DATA-031."""
    counts = small_scan.diffraction_amp_MHW**2
    shifted = np.fft.ifftshift(small_scan.diffraction_amp_MHW, axes=(1, 2))
    for changes in ({"diff3d": np.rint(counts)}, {"diff3d": shifted}, {"xcoords": np.zeros(3)}):
        path = scan_file(**changes)
        with pytest.raises(DataError) as by_header:
            read_header(path)
        with pytest.raises(DataError) as by_reader:
            read_scan(path)
        assert str(by_header.value) == str(by_reader.value)


def test_the_command_prints_one_json_object(
    scan_file: ScanFile, capsys: pytest.CaptureFixture[str]
) -> None:
    """DATA-032."""
    assert main([str(scan_file())]) == 0
    assert json.loads(capsys.readouterr().out)["n_patterns"] == 40
    assert main([str(scan_file(xcoords=None))]) == 2
    assert "xcoords is missing" in json.loads(capsys.readouterr().out)["error"]
    assert main([]) == 2
    assert "usage" in json.loads(capsys.readouterr().out)["error"]


def test_the_command_never_imports_torch(scan_file: ScanFile) -> None:
    """DATA-032: as a process of its own, with torch made impossible."""
    code = (
        "import sys, runpy; sys.modules['torch'] = None; sys.argv = ['header', sys.argv[1]];"
        "runpy.run_module('ptycho_dist.data.header', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(scan_file())],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["N"] == 64
