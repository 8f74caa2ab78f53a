"""Which run a command means where none is named (specs/run_config.md, RC-130, RC-131)."""

import json

import pytest

from launcher.cli import main
from launcher.commands import which_run
from ptycho_dist.errors import UserError

FAILED = ("failed", "crash", "it broke")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def ended(pretend, name, how=FAILED):
    run = pretend(name)
    run.submitted()
    run.attempt(ended=how)
    return run.run


@pytest.mark.parametrize("command", ["logs", "explain", "verify", "report"])
def test_the_newest_run_is_taken_and_named(pretend, commands, capsys, root, command):
    """RC-130: on stderr; stdout is the same as with the id."""
    ended(pretend, "b-20260101-000000-0001")
    newest = ended(pretend, "a-20260102-000000-0001")
    (newest.logs / "batch-7.log").write_text("error: it broke\n")
    flags = ["--runs-dir", str(root), *(["--json"] if command != "logs" else [])]
    code = main([command, *flags])
    unnamed = capsys.readouterr()
    first, _, rest = unnamed.err.partition("\n")
    assert first == f"no RUN named: taking the newest, {newest.run_id}"
    assert main([command, newest.run_id, *flags]) == code
    named = capsys.readouterr()
    assert named.err == rest
    if command == "logs":
        assert named.out == unnamed.out != ""
    elif unnamed.out:
        assert json.loads(unnamed.out)["run_id"] == newest.run_id


def test_a_name_cannot_steer_the_terminal(pretend, commands, capsys, root):
    """RC-130, RD-210"""
    pretend("a\x1b[31m-20260101-000000-0001")
    assert main(["verify", "--runs-dir", str(root)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_no_run_at_all(capsys, root):
    """RC-130"""
    for command in ("logs", "cancel", "resume"):
        assert main([command, "--runs-dir", str(root)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"no runs in {root}" in line


def test_cancel_refuses_to_choose(pretend, commands, capsys, root):
    """RC-131: nothing is cancelled."""
    commands(squeue='echo "7|RUNNING|N/A|None"; echo "8|PENDING|N/A|None"', scancel="exit 9")
    for name, job in (("b-20260101-000000-0001", "7"), ("a-20260102-000000-0001", "8")):
        pretend(name).submitted(job)
    ended(pretend, "c-20260103-000000-0001")
    assert main(["cancel", "--runs-dir", str(root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "cancel: 2 runs could be meant: a-20260102-000000-0001, b-20260101-000000-0001; name one"
    )
    assert not list(root.glob("*/ledger/*launcher*"))


def test_cancel_says_which_run_before_it_acts(pretend, capsys, root):
    """RC-131: the newest is over, so there is nothing to choose from, and nothing to cancel."""
    newest = ended(pretend, "c-20260103-000000-0001")
    assert main(["cancel", "--runs-dir", str(root)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"no RUN named: taking the newest, {newest.run_id}"
    assert "nothing to cancel" in second


def test_resume_refuses_to_choose(pretend, capsys, root):
    """RC-131: a finished run is not among those that could be meant."""
    for day in range(1, 8):
        ended(pretend, f"a-2026010{day}-000000-0001")
    finished = pretend("z-20260109-000000-0001")
    finished.submitted()
    finished.run.result_json.write_text("{}")
    assert main(["resume", "--runs-dir", str(root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "resume: 7 runs could be meant: a-20260107-000000-0001, a-20260106" in line
    assert line.endswith("a-20260103-000000-0001 and 2 more; name one")


def test_what_could_be_meant_is_what_can_be_done():
    """RC-131: the two lists of states do not overlap, and hold no state in which it is too late."""
    assert not which_run.CANCELLABLE & which_run.RESUMABLE
    assert "finished" not in which_run.CANCELLABLE | which_run.RESUMABLE


def test_a_name_that_is_not_one(pretend, root):
    """RC-130"""
    pretend("a-20260101-000000-0001")
    for reference in ("zzz", "a.", ".3", "a." + "9" * 5000, "..", "/"):
        with pytest.raises(UserError, match="no such run"):
            which_run.named(root, reference)
