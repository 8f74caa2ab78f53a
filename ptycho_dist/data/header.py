"""What a scan file holds, told without loading it: for a login node.

Keeps the npy headers inside the zip, the small arrays, and at most 32 patterns. Torch-free.
`python -m ptycho_dist.data.header PATH` prints one JSON object; a file that is refused prints
`{"error": "..."}` and exits 2.
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
"""Up to this size a file's checksums are all verified, so that damage is found before submission;
larger ones would load a login node, and are verified by the ranks."""


@dataclass(frozen=True)
class DataHeader:
    """Shapes and unit of a scan file.

    Attributes:
        path: the file, as given.
        n_patterns: M.
        N: rows and columns of a pattern, pixels.
        probe_modes: P.
        unit: how the amplitude unit is established (see `ptycho_dist.data.checks.Unit`).
        dtype: of the patterns as stored.
        size_bytes: of the file.
        has_labels: whether it has an object patch for each pattern, to learn from.
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
    """The header of the scan file `path`.

    Judges unit and centring as `read_scan` does, from the same leading patterns; what only the
    later patterns would show (a NaN; in a large file, a damaged byte) is left to it.

    Raises DataError for whatever of specs/data_contract.md can be seen so.
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
    """Print the header of the one file named in `argv` as JSON; 0, or 2 when it is refused."""
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
