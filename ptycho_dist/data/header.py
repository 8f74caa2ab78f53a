"""Read the shapes and the unit of a scan file without loading it, for use on a login node.

It reads the npy headers inside the zip, the small arrays, and at most 32 patterns. Torch-free.
`python -m ptycho_dist.data.header PATH` prints one JSON object; for a file that is refused it
prints `{"error": "..."}` and exits with 2.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ptycho_dist.data.checks import LEADING_FRAMES, Unit
from ptycho_dist.data.formats import (
    check_leading_frames,
    has_labels,
    positions_and_layout,
    read_probe,
    read_unit_tag,
)
from ptycho_dist.data.npz import open_npz
from ptycho_dist.errors import DataError

READ_THROUGH_BYTES = 256 * 2**20
"""Largest file whose checksums are all verified here, so that damage is found before submission.

Verifying a larger file would burden the login node; the ranks do it when they read the file.
"""


@dataclass(frozen=True)
class DataHeader:
    """Shapes and unit of a scan file.

    Attributes:
        path: Path of the file, as given.
        n_patterns: Number M of patterns.
        N: Rows and columns of a pattern in pixels.
        probe_modes: Number P of probe modes.
        unit: How the amplitude unit is known (see `ptycho_dist.data.checks.Unit`).
        dtype: Data type of the patterns in the file.
        size_bytes: Size of the file.
        has_labels: Whether the file has an object patch for each pattern, for supervised training.
    """

    path: str
    n_patterns: int
    N: int
    probe_modes: int
    unit: Unit
    dtype: str
    size_bytes: int
    has_labels: bool


def read_header(path: str | Path) -> DataHeader:
    """Read the header of a scan file.

    Unit and centring are judged as in `read_scan`, from the same leading patterns. Faults that only
    later patterns show (a NaN; in a large file, a damaged byte) are found by `read_scan` alone.

    Raises:
        DataError: The header or the leading patterns break specs/data_contract.md.
    """
    path = Path(path)
    with open_npz(path) as npz:
        _, _, layout = positions_and_layout(npz)
        probe_PHW = read_probe(npz, layout.N)
        tag = read_unit_tag(npz)
        if path.stat().st_size <= READ_THROUGH_BYTES:
            npz.require_undamaged()
        leading_MHW = npz.leading(layout.member, frame_axis=layout.frame_axis, count=LEADING_FRAMES)
        unit = check_leading_frames(leading_MHW, tag, f"{path}: {layout.member.key}")
        return DataHeader(
            path=str(path),
            n_patterns=layout.n_patterns,
            N=layout.N,
            probe_modes=probe_PHW.shape[0],
            unit=unit,
            dtype=str(layout.member.dtype),
            size_bytes=path.stat().st_size,
            has_labels=has_labels(npz, layout),
        )


def main(argv: list[str] | None = None) -> int:
    """Print the header of the file named in `argv` as JSON; returns 0, or 2 if it is refused."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print(json.dumps({"error": "usage: python -m ptycho_dist.data.header PATH"}))
        return DataError.exit_code
    try:
        print(json.dumps(asdict(read_header(arguments[0]))))
    except DataError as error:
        print(json.dumps({"error": str(error)}))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
