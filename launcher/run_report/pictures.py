"""The pictures that a report shows: a few, evenly chosen, each checked to be a PNG."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from launcher.run_report.left_out import LeftOut
from ptycho_dist.rundir.layout import RunDirectory

MOST_PICTURES = 12
MOST_PATCHES = 4
"""Largest number of patch pictures where there are pictures of the object too."""
MOST_BYTES = 3 * 2**20
"""Largest size of one picture."""
MOST_BYTES_IN_ALL = 16 * 2**20
MOST_PIXELS = 40_000_000
_LONGEST_SIDE = 16_384
_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk of a PNG: length, type and checksum (PNG specification, section 11.2.5)."""
_FOLDER = re.compile(r"epoch-(\d{4,9})")

Kind = Literal["object", "patches"]


@dataclass(frozen=True)
class RunPicture:
    """A PNG from the run directory."""

    kind: Kind
    epoch: int | None
    """Counted from 0; None: the final object."""
    file: str
    """Path within the run directory."""
    width: int
    height: int
    png: bytes = field(repr=False)


def read_pictures(run: RunDirectory, left_out: LeftOut) -> tuple[RunPicture, ...]:
    """Read the final object, then objects, then patches, each from the first epoch to the last."""
    folder = run.reconstruction
    epochs = _epochs(folder, left_out)
    final = _is_there(run.picture)
    objects = [e for e in epochs if _is_there(folder / f"epoch-{e:04d}" / "object.png")]
    patches = [e for e in epochs if _is_there(folder / f"epoch-{e:04d}" / "patches.png")]
    room = MOST_PICTURES - final
    shown = evenly(patches, min(MOST_PATCHES, room) if objects else room)
    wanted: list[tuple[Kind, int | None, Path]] = [("object", None, run.picture)] if final else []
    wanted += [
        ("object", epoch, folder / f"epoch-{epoch:04d}" / "object.png")
        for epoch in evenly(objects, room - len(shown))
    ]
    wanted += [("patches", epoch, folder / f"epoch-{epoch:04d}" / "patches.png") for epoch in shown]
    found: list[RunPicture] = []
    total = 0
    for kind, epoch, path in wanted:
        name = str(path.relative_to(run.path))
        try:
            png = _read(path, run)
            width, height = checked_png(png)
            if total + len(png) > MOST_BYTES_IN_ALL:
                raise ValueError(
                    f"with it the pictures would exceed {MOST_BYTES_IN_ALL // 2**20} MiB"
                )
        except ValueError as error:
            left_out.note(f"{name}: {error}")
        except OSError as error:
            left_out.note(f"{name}: {error.strerror}")
        else:
            total += len(png)
            found.append(RunPicture(kind, epoch, name, width, height, png))
    return tuple(found)


def evenly(numbers: Sequence[int], most: int) -> list[int]:
    """At most this many numbers at equal distances, including the first and the last."""
    if len(numbers) <= most:
        return list(numbers)
    if most <= 1:
        return list(numbers[-1:])[:most]
    last = len(numbers) - 1
    return [numbers[round(place * last / (most - 1))] for place in range(most)]


def checked_png(content: bytes) -> tuple[int, int]:
    """Width and height in pixels of a file that is a whole PNG and nothing else.

    Pillow checks the chunks and their checksums; the pixels are not decoded.

    Args:
        content: the file; untrusted.

    Raises:
        ValueError: the file is not a whole PNG, or is larger than a report takes.
    """
    # Imported late: only a report with pictures needs it.
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # The size is checked below, against a smaller bound than Pillow's.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=("PNG",))
        width, height = image.size
        image.verify()
    except Image.DecompressionBombError as error:
        raise ValueError(f"is a PNG with too many pixels: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        kind = "a damaged PNG, or one that was cut short" if _is_signed(content) else "not a PNG"
        raise ValueError(f"is {kind}: {error}") from None
    # Pillow stops at the first end chunk and does not look at what follows.
    if content.find(_END) != len(content) - len(_END):
        raise ValueError("is a PNG that was cut short, or with other data behind it")
    if max(width, height) > _LONGEST_SIDE or width * height > MOST_PIXELS:
        raise ValueError(
            f"is a PNG of {width} × {height} pixels; a report takes at most "
            f"{MOST_PIXELS // 10**6} million"
        )
    return width, height


def _is_signed(content: bytes) -> bool:
    return content.startswith(b"\x89PNG\r\n\x1a\n")


def _read(path: Path, run: RunDirectory) -> bytes:
    if not path.resolve().is_relative_to(run.path.resolve()):
        raise ValueError("is a link that leads out of the run directory")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES // 2**20} MiB")
    return content


def _epochs(folder: Path, left_out: LeftOut) -> list[int]:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        left_out.note(f"pictures: {folder}: {error.strerror}")
        return []
    found = (match for name in names if (match := _FOLDER.fullmatch(name)))
    return sorted(int(match[1]) for match in found if match[0] == f"epoch-{int(match[1]):04d}")


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
