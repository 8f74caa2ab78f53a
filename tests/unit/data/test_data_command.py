"""`ptycho-data` (section 6 of the data contract)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import HANG_S

from ptycho_dist.cli.data import main
from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.summary import summarise
from ptycho_dist.errors import DataError

FEW = ["--n-patterns", "9", "--photons", "1e4", "--step-px", "4", "--jitter-px", "0"]


def test_simulate_then_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DATA-067, DATA-070."""
    out = tmp_path / "scan.npz"
    assert main(["simulate", str(out), *FEW]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.npz", "scan.truth.npz"]
    capsys.readouterr()
    assert main(["inspect", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n_patterns"], figures["N"], figures["probe_modes"]) == (9, 64, 1)
    assert figures["unit"] == "tagged"
    assert figures["mean_counts"] == pytest.approx(1e4, rel=0.02)
    assert figures["scan_span_px"] == [8, 8]
    assert figures["neighbour_distance_px"] == 4
    assert figures["probe_diameter_px"] == pytest.approx(32, abs=1)
    assert figures["overlap"] == pytest.approx(1 - 4 / figures["probe_diameter_px"])
    assert figures["warnings"] == []
    assert main(["inspect", str(out)]) == 0
    text = capsys.readouterr().out
    for words in ("9 of 64 × 64 px", "metadata says", "nearest neighbour at 4.00 px", "87%"):
        assert words in text


def test_nothing_is_overwritten_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DATA-067: neither the scan nor its truth."""
    out = tmp_path / "scan.npz"
    for existing in (out, tmp_path / "scan.truth.npz"):
        existing.write_text("mine")
        assert main(["simulate", str(out), *FEW]) == 2
        assert f"{existing} exists" in capsys.readouterr().err
        assert existing.read_text() == "mine"
        assert main(["simulate", str(out), *FEW, "--force"]) == 0
        for path in tmp_path.iterdir():
            path.unlink()


def test_mistakes_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["inspect", str(tmp_path / "absent.npz")], "no such file"),
        (["simulate", str(tmp_path / "scan.h5")], "must end in .npz"),
        (["simulate", str(tmp_path / "absent" / "scan.npz")], "no such folder"),
        (["simulate", str(tmp_path / "scan.npz"), "--photons", "-1"], "n_photons is -1"),
    ):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert words in lines[0]
    with pytest.raises(DataError):
        main(["inspect", str(tmp_path / "absent.npz"), "--debug"])
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ptycho_dist.cli.data.simulate", interrupted)
    assert main(["simulate", str(tmp_path / "scan.npz"), *FEW]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["simulate", "--help"], ["inspect", "--help"]])
def test_help_has_an_example(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 0
    assert "Example: ptycho-data" in capsys.readouterr().out


def test_the_command_works_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from ptycho_dist.cli.data import main;"
        f"sys.exit(main(['simulate', {str(tmp_path / 'scan.npz')!r}, *{FEW!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANG_S, capture_output=True)
    assert (tmp_path / "scan.npz").exists()


def test_what_deserves_a_warning(small_scan: ScanData) -> None:
    """DATA-070: each in a sentence of its own."""
    amp_MHW = small_scan.diffraction_amp_MHW * np.float32(0.2)
    amp_MHW[4] = 0
    x_px, y_px = small_scan.x_px * 5, small_scan.y_px * 5
    x_px[1], y_px[1] = x_px[0], y_px[0]
    wide_PHW = np.ones((1, 64, 64), np.complex64)
    warnings = " | ".join(summarise(ScanData(amp_MHW, wide_PHW, x_px, y_px, "unverified")).warnings)
    for words in ("unverified", "any counts: 1;", "another position: 2", "counts on average"):
        assert words in warnings
    assert "only 25% of the probe's energy" in warnings
    assert "overlap" not in warnings
    spread = ScanData(small_scan.diffraction_amp_MHW, small_scan.probe_PHW, x_px, y_px, "counts")
    assert any("overlap" in sentence for sentence in summarise(spread).warnings)


def test_a_single_pattern_has_no_neighbour(small_scan: ScanData) -> None:
    one = ScanData(
        small_scan.diffraction_amp_MHW[:1],
        small_scan.probe_PHW,
        small_scan.x_px[:1],
        small_scan.y_px[:1],
        "counts",
    )
    summary = summarise(one)
    assert (summary.neighbour_distance_px, summary.overlap) == (None, None)
