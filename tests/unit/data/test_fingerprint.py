"""The same fingerprint for the same content, another for any other (RD-036, RD-037)."""

import random
import zipfile

import numpy as np
import pytest

from ptycho_dist.data.fingerprint import data_fingerprint
from ptycho_dist.errors import DataError

ARRAYS = {
    "diff3d": np.arange(5 * 8 * 8, dtype=np.float32).reshape(5, 8, 8),
    "xcoords": np.linspace(0, 9, 5),
    "ycoords": np.zeros(5),
}


def test_the_same_content_written_again_has_the_same_fingerprint(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    np.savez(tmp_path / "b.npz", **dict(reversed(ARRAYS.items())))
    np.savez_compressed(tmp_path / "c.npz", **ARRAYS)
    found = {data_fingerprint(tmp_path / name) for name in ("a.npz", "b.npz", "c.npz")}
    assert len(found) == 1
    (fingerprint,) = found
    assert len(fingerprint) == 32
    assert set(fingerprint) <= set("0123456789abcdef")


@pytest.mark.parametrize("change", ["value", "name", "dtype", "more"])
def test_other_content_has_another_fingerprint(tmp_path, change):
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    if change == "value":
        arrays["diff3d"][3, 2, 1] += 1e-3
    elif change == "name":
        arrays["diffraction"] = arrays.pop("diff3d")
    elif change == "dtype":
        arrays["ycoords"] = arrays["ycoords"].astype(np.int64)  # the same bytes but the header
    else:
        arrays["extra"] = np.zeros(0)
    np.savez(tmp_path / "a.npz", **ARRAYS)
    np.savez(tmp_path / "b.npz", **arrays)
    assert data_fingerprint(tmp_path / "a.npz") != data_fingerprint(tmp_path / "b.npz")


def test_no_array_is_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **ARRAYS)
    before = data_fingerprint(path)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("diff3d.npy").header_offset + 300
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    assert data_fingerprint(path) == before


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(9)])
def test_what_is_no_zip_is_one_line(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: cannot be read as an \.npz file") as caught:
        data_fingerprint(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(DataError, match="cannot be read as"):
            data_fingerprint(path)


def test_a_damaged_directory_of_members_is_a_data_error_or_another_fingerprint(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **ARRAYS)
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    generator = random.Random(11)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(3):
            content[generator.randrange(directory, len(content))] = generator.randrange(256)
        path.write_bytes(content)
        try:
            assert len(data_fingerprint(path)) == 32
        except DataError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - not all damage is refused
    assert refused > 0
