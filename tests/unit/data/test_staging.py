"""Copies of data files on a node's disk (RD-260 to RD-264)."""

import contextlib
import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.config.faults import ConfigError
from ptycho_dist.config.plain_data import decode_run_config
from ptycho_dist.data import staging
from ptycho_dist.data.fingerprint import data_fingerprint
from ptycho_dist.data.staging import folder_of_run, place_on_this_node, stage_files
from ptycho_dist.errors import DataError, RunError


def nothing():
    pass


@pytest.fixture
def scan(simulate, tmp_path):
    return simulate(tmp_path / "scan.npz", n_patterns=20)


@pytest.fixture
def stage(scan, tmp_path):
    def call(folder=None, between=nothing, **files):
        files = files or {"train_data_file": scan}
        known = {name: data_fingerprint(path) for name, path in files.items()}
        return stage_files(files, known, folder or tmp_path / "copies", between)

    return call


def test_a_copy_is_private_and_whole_and_kept_for_a_later_attempt(stage, scan):
    """RD-261, RD-263: two fields that name the same contents are one copy."""
    first = stage(train_data_file=scan, test_data_file=scan)
    copy = first.files["train_data_file"]
    assert first.files["test_data_file"] == copy
    assert copy.read_bytes() == scan.read_bytes()
    assert first.folder.stat().st_mode & 0o777 == 0o700
    assert copy.stat().st_mode & 0o777 == 0o600
    size = scan.stat().st_size
    assert (first.copied_bytes, first.reused_bytes) == (size, 0)
    inode = copy.stat().st_ino
    again = stage(train_data_file=scan, test_data_file=scan)
    assert (again.copied_bytes, again.reused_bytes, again.damaged) == (0, size, [])
    assert copy.stat().st_ino == inode


def flip(copy):
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)


def cut(copy):
    os.truncate(copy, copy.stat().st_size - 1)


def spoil_record(copy):
    copy.with_suffix(".json").write_text("[" * 100_000)


def other_type(copy):
    copy.with_suffix(".json").write_text('{"sha256": 7}')


def lose_record(copy):
    copy.with_suffix(".json").unlink()


def lose_copy(copy):
    copy.unlink()


@pytest.mark.parametrize("harm", [flip, cut, spoil_record, other_type, lose_record, lose_copy])
def test_an_older_copy_that_is_not_whole_is_made_anew(stage, scan, harm):
    """RD-263"""
    copy = stage().files["train_data_file"]
    harm(copy)
    (copy.parent / ".x.npz.1234.tmp").write_bytes(b"of an attempt that was killed")
    again = stage()
    assert again.damaged == [copy.name]
    assert copy.read_bytes() == scan.read_bytes()
    assert sorted(path.suffix for path in copy.parent.iterdir()) == [".json", ".npz"]


def test_a_disk_that_loses_bits_is_refused(stage, monkeypatch):
    """RD-262: what was written is read back and compared."""
    real = staging._copy_bytes

    def lossy(source, draft, between):
        digest = real(source, draft, between)
        flip(draft)
        return digest

    monkeypatch.setattr(staging, "_copy_bytes", lossy)
    with pytest.raises(RunError, match="differs from what was written"):
        stage()


def test_a_source_that_changes_meanwhile_is_refused(stage, scan, simulate, tmp_path):
    """RD-262"""
    other = simulate(tmp_path / "other.npz", n_patterns=37, seed=5)
    known = {"train_data_file": data_fingerprint(scan)}
    with pytest.raises(DataError, match="changed while it was being copied"):
        stage_files({"train_data_file": other}, known, tmp_path / "copies", nothing)
    with pytest.raises(DataError, match=r"gone\.npz: cannot be read: No such file"):
        stage_files({"train_data_file": tmp_path / "gone.npz"}, known, tmp_path / "c", nothing)
    assert not (tmp_path / "copies").exists()


@contextlib.contextmanager
def no_file_larger_than(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_is_named_and_nothing_is_left(stage, tmp_path):
    """RD-264"""
    with no_file_larger_than(100_000), pytest.raises(RunError) as raised:
        stage()
    assert str(raised.value) == (
        f"data.stage_to: {tmp_path}/copies: File too large; make room, choose another place, or "
        "leave it out: ptycho-launch resume RUN --set data.stage_to=null"
    )
    assert not (tmp_path / "copies").exists()


def test_a_small_disk_is_refused_before_anything_is_written(stage, scan, tmp_path):
    """RD-264: a real file system, where the tests may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount; a write that fails is tested in its place")
    try:
        with pytest.raises(RunError, match=r"small has 0\.2. MiB free, but train_data_file need"):
            stage(place / "copies")
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_who_asks_to_stop_between_two_chunks_leaves_nothing(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "CHUNK_BYTES", 65536)
    seen = []

    def between():
        seen.append([path.suffix for path in (tmp_path / "copies").iterdir()])
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(between=between)
    assert seen[-1] == [".tmp"]
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize("kind", ["open to others", "link", "file"])
def test_a_folder_that_others_may_have_laid_out_is_refused(stage, tmp_path, kind):
    """RD-261: names in a shared place can be guessed."""
    folder, trap = tmp_path / "copies", tmp_path / "trap"
    trap.mkdir(mode=0o700)
    if kind == "link":
        folder.symlink_to(trap)
    elif kind == "file":
        folder.write_text("x")
    else:
        folder.mkdir()
        folder.chmod(0o755)
    with pytest.raises(RunError, match="not a private directory of yours"):
        stage()
    assert folder.exists()
    assert list(trap.iterdir()) == []


def test_the_place_is_filled_in_on_the_node_as_data(tmp_path):
    """RD-260"""
    odd = tmp_path / "$(touch x) ;"
    odd.mkdir()
    (tmp_path / "job7").mkdir()
    node = {"TMPDIR": str(tmp_path), "JOB": "job7", "ODD": str(odd), "REL": "x", "EMPTY": ""}
    assert place_on_this_node("$TMPDIR/${JOB}", node) == tmp_path / "job7"
    assert place_on_this_node("$ODD", node) == odd
    for text, words in [
        ("$EMPTY/x", "EMPTY is not set on this node"),
        ("$NONE/x", "NONE is not set on this node"),
        ("$REL/x", "not an absolute path"),
        ("$TMPDIR/none", "no directory"),
        ("$TMPDIR/$(touch x)", "only $NAME and ${NAME} are expanded"),
        ("$TMPDIR/${JOB:-x}", "only $NAME and ${NAME} are expanded"),
    ]:
        with pytest.raises(RunError) as raised:
            place_on_this_node(text, node)
        assert words in str(raised.value)


@pytest.mark.parametrize("place", ["scratch", "", "~/x", "/a\nb", "/a\x1b[2J", "/" + "a" * 1024, 7])
def test_a_place_that_can_be_none_is_refused_before_submission(place):
    """RD-260"""
    data = {"name": "a", "data": {"train_data_file": "x.npz", "stage_to": place}}
    with pytest.raises(ConfigError) as raised:
        decode_run_config(data, "test")
    assert [fault.path for fault in raised.value.faults] == ["data.stage_to"]


@given(run=st.text(min_size=1, max_size=300), node=st.text(max_size=80))
def test_the_name_of_a_folder_is_one_short_component(run, node):
    """RD-261"""
    folder = folder_of_run(Path("/place"), Path("/runs") / run.replace("/", "_"), node)
    assert folder.parent == Path("/place")
    assert len(os.fsencode(folder.name)) < 128
    assert folder.name.isascii()


def test_nodes_and_runs_have_folders_of_their_own():
    place, run = Path("/p"), Path("/runs/a-1")
    names = {
        folder_of_run(place, r, node) for r in (run, Path("/other/a-1")) for node in ("n1", "n2")
    }
    assert len(names) == 4
    assert json.dumps(sorted(map(str, names))).count("ptycho-dist-a-1-") == 4
