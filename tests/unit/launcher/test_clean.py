"""`clean` removes only what is over and ours, and only when asked twice (RD-270 to RD-273)."""

import json
import os
import time

import pytest

from launcher.cli import main
from launcher.control.clean import LEFTOVER_AGE_S, removals, remove
from ptycho_dist.attempts.attempt import begin_attempt, end_attempt
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.listing import list_runs
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan

NAMES = {name: f"{name}-20260101-000000-00a{i}" for i, name in enumerate(["one", "two", "three"])}


@pytest.fixture
def root(make_config, tmp_path):
    """Three runs: one has finished, two has failed, three is alive."""
    loaded = read_run_config(make_config()).sound()
    plan = RunPlan(world=world_of(loaded.config, 37))
    for name in NAMES.values():
        run = prepare_run(tmp_path / "runs" / name, loaded, plan, None)
        job = str(LocalProcess.of(os.getpid())) if name.startswith("three") else "h:1:1"
        begin_attempt(run, job_id=job, cluster="local", nodes=["n"])
        if name.startswith("one"):
            write_json_atomic(run.result_json, {})
        if not name.startswith("three"):
            end_attempt(run, 1, 0 if name.startswith("one") else 1)
    return tmp_path / "runs"


def clean(root, *arguments):
    return main(["clean", "--runs-dir", str(root), *arguments])


def left(root):
    return [run.run_id.split("-")[0] for run in list_runs(root)]


def test_nothing_is_removed_unless_asked_for_twice(root, capsys):
    """RD-270"""
    assert clean(root) == 0
    assert "nothing was removed; add --delete" in capsys.readouterr().out
    assert clean(root, "--delete") == 2
    assert "not a terminal; add --yes" in capsys.readouterr().err
    assert left(root) == ["one", "three", "two"]
    assert clean(root, "--delete", "--yes") == 0
    assert left(root) == ["three", "two"]


@pytest.mark.parametrize(("typed", "gone"), [("1\n", True), ("yes\n", False), ("", False)])
def test_on_a_terminal_it_asks_once_more(root, monkeypatch, typed, gone):
    """RD-270"""

    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            return typed

    monkeypatch.setattr("sys.stdin", Terminal())
    assert clean(root, "--delete") == (0 if gone else 2)
    assert ("one" in left(root)) != gone


def test_a_living_run_stays_whatever_is_asked(root, capsys):
    """RD-271"""
    states = "finished,failed,stopped,cancelled,lost,prepared"
    assert clean(root, "--state", states, "--delete", "--yes") == 0
    assert left(root) == ["three"]
    assert clean(root, NAMES["three"], "--delete", "--yes") == 0
    assert "stays" in capsys.readouterr().out
    assert left(root) == ["three"]


def test_age_and_state_are_obeyed(root):
    """RD-271"""
    assert clean(root, "--older-than", "1d", "--delete", "--yes") == 0
    assert left(root) == ["one", "three", "two"]
    assert clean(root, "--state", "failed", "--delete", "--yes") == 0
    assert left(root) == ["one", "three"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--older-than", "soon"], "an age such as 12h"), (["--state", "dead"], "no such state")],
)
def test_wrong_input_is_one_line(root, capsys, arguments, says):
    assert clean(root, *arguments) == 2
    assert says in capsys.readouterr().err


def test_what_a_person_has_put_there_stays(root):
    """RD-272"""
    run = RunDirectory(root / NAMES["one"])
    (run.path / "notes.txt").write_text("mine")
    assert clean(root, "--delete", "--yes") == 0
    assert [entry.name for entry in run.path.iterdir()] == ["notes.txt"]


def test_what_is_not_a_run_of_this_user_stays(root, tmp_path):
    """RD-272: another folder, a link to a run, a run.json that a person wrote."""
    (root / "pictures").mkdir()
    (root / "pictures" / "run.json").write_text('["holiday"]')
    elsewhere = tmp_path / "elsewhere"
    (root / NAMES["one"]).rename(elsewhere)
    (root / NAMES["one"]).symlink_to(elsewhere)
    assert clean(root, "--delete", "--yes") == 0
    assert (root / "pictures" / "run.json").exists()
    assert (elsewhere / "run.json").exists()


def test_old_leftovers_of_kills_are_found(root):
    """RD-273"""
    young = root / ".one-20260101-000000-00a1.0123abcd.tmp"
    old = root / ".two-20260101-000000-00a1.0123abcd.tmp"
    foreign = root / ".config.0123abcd.tmp"
    trash = root / ".clean-two-20260101-000000-00a1-12ab"
    for path in (young, old, foreign, trash):
        path.mkdir()
    for path in (old, foreign):
        os.utime(path, times=(0, time.time() - 2 * LEFTOVER_AGE_S))
    assert clean(root, "--delete", "--yes") == 0
    assert [path.exists() for path in (young, old, foreign, trash)] == [True, False, True, False]


def test_a_kill_in_the_middle_leaves_nothing_that_looks_like_a_run(root, monkeypatch):
    """RD-273"""

    class Killed(BaseException):
        pass

    def kill(*arguments, **options):
        raise Killed

    monkeypatch.setattr("shutil.rmtree", kill)
    (removal,) = (
        each
        for each in removals(root, list_runs(root), states=frozenset({"finished"}), older_than_s=0)
        if not each.kept
    )
    with pytest.raises(Killed):
        remove(removal)
    assert left(root) == ["three", "two"]
    monkeypatch.undo()
    assert clean(root, "--delete", "--yes") == 0
    assert not list(root.glob(".clean-*"))


def test_json_lists_what_is_removed_and_what_stays(root, capsys):
    assert clean(root, "--json") == 0
    found = {
        entry["path"].rpartition("/")[2]: entry for entry in json.loads(capsys.readouterr().out)
    }
    assert not found[NAMES["one"]]["kept"]
    assert found[NAMES["one"]]["bytes"] > 0
    assert found[NAMES["two"]]["kept"] == "not asked for: see --state"
    assert found[NAMES["three"]]["kept"]
