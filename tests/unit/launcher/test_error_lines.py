"""`logs --errors` shows the verdict of `explain`, with the lines of the logs (RD-223)."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.slurm.job_state import JobState
from launcher.slurm.jobs import Scheduler
from launcher.slurm.sacct import parse_sacct
from ptycho_dist.errors import ClusterUnreachable
from ptycho_dist.rundir.ledger import LedgerWriter

FAILURES = sorted(
    path.parent for path in (Path(__file__).parent / "failures").glob("*/expected.json")
)
HEADING = re.compile(r"== (?:attempt \d+: )?(?P<headline>(?P<cause>\w+): .*) ==")
FIRST = re.compile(r"-- first: rank (\d+): .+")


@pytest.fixture
def answers(monkeypatch):
    """`answers(folder)`: SLURM gives the answers of the time when that failure was recorded."""

    def use(folder):
        path = folder / "slurm.json"
        said = json.loads(path.read_text()) if path.exists() else {}

        def job_state(scheduler, job_id):
            if "squeue" not in said:
                raise ClusterUnreachable("SLURM does not answer")
            state, _, reason = said["squeue"].partition("|")
            return JobState(state, reason, "squeue")

        account = parse_sacct(said.get("sacct", ""))
        monkeypatch.setattr(Scheduler, "job_state", job_state)
        monkeypatch.setattr("launcher.explain.evidence.accounted", lambda job_id: account)

    return use


@pytest.fixture
def recorded(answers, tmp_path):
    """`recorded(folder)`: a copy of the run, with the run.json that the recording lacks."""

    def copy(folder):
        answers(folder)
        run = tmp_path / "r-1"
        shutil.copytree(folder / "r-1", run)
        (run / "run.json").touch()
        return run

    return copy


@pytest.fixture
def printed(capsys):
    def of(*arguments):
        assert main([str(each) for each in arguments]) == 0
        return capsys.readouterr().out

    return of


@pytest.mark.parametrize("folder", FAILURES, ids=lambda folder: folder.name)
def test_both_commands_name_the_same_first_rank_and_cause(folder, recorded, printed):
    """RD-223, for every recorded failure."""
    expected = json.loads((folder / "expected.json").read_text())
    number = ("--attempt", expected["attempt"]) if "attempt" in expected else ()
    run = recorded(folder)
    explained = json.loads(printed("explain", run, "--json", *number))
    words = printed("explain", run, *number)
    shown = printed("logs", run, "--errors", *number).splitlines()
    heading = HEADING.fullmatch(shown[0])
    first = [int(match[1]) for line in shown if (match := FIRST.fullmatch(line))]
    assert heading is not None, shown[0]
    assert heading["cause"] == explained["cause"] == expected["cause"]
    assert heading["headline"] in words
    assert first == ([] if expected["first_rank"] is None else [expected["first_rank"]])
    assert explained["first_rank"] == expected["first_rank"]
    for line in explained["evidence"]:
        assert any(line["text"] in each for each in shown), line
    for rank in first:
        log = run / "logs" / f"attempt-{explained['attempt'] or 0:03d}-rank-{rank:05d}.log"
        own = [line for line in shown if line.startswith(f"[rank {rank}] ")]
        assert bool(own) == (log.exists() and bool(log.read_text().strip()))


@pytest.fixture
def run(pretend, commands):
    """Two attempts of two ranks; in both of them rank 1 failed first."""
    began = [time.mktime((2026, 1, 1, 0, 0, second, 0, 0, -1)) for second in (0, 30)]
    run = pretend()
    run.submitted()
    run.attempt(1, ended=("failed", "crash", "rank 1 died"), restart=True, started_at=began[0])
    run.attempt(2, ended=("failed", "crash", "rank 0 died"), started_at=began[1])
    traceback = (
        "Traceback (most recent call last):\n  File 'x.py', line 1, in <module>\n{}\nafter\n"
    )
    quiet = "".join(f"quiet {number}\n" for number in range(20))
    for number in (1, 2):
        run.log(
            f"attempt-00{number}-rank-00000.log",
            traceback.format("RuntimeError: Connection closed by peer"),
        )
        run.log(
            f"attempt-00{number}-rank-00001.log",
            quiet + traceback.format("OSError: No space left on device"),
        )
        with LedgerWriter(run.run, number, "rank-00001") as ledger:
            ledger.append("failed", reason="OSError: No space left on device", step=3)
    return run


def test_the_first_error_comes_first_with_its_surroundings(run, printed):
    shown = printed("logs", run.run.path, "--errors").splitlines()
    assert shown[0].startswith("== attempt 2: disk_full: a disk is full")
    assert shown[1].startswith("-- first: rank 1: ")
    quiet = [f"[rank 1] quiet {number}" for number in range(15, 20)]
    place = shown.index(quiet[0])
    assert shown[place : place + 5] == quiet
    assert shown[place + 5] == "[rank 1] Traceback (most recent call last):"
    assert shown[place + 7 : place + 9] == [
        "[rank 1] OSError: No space left on device",
        "[rank 1] after",
    ]
    assert shown[-2:] == ["-- other ranks: 1", "[rank 0] RuntimeError: Connection closed by peer"]


def test_all_attempts_or_one_rank(run, printed, capsys):
    shown = printed("logs", run.run.path, "--errors", "--all-attempts").splitlines()
    assert [line[:13] for line in shown if line.startswith("==")] == [
        "== attempt 1:",
        "== attempt 2:",
    ]
    shown = printed("logs", run.run.path, "--errors", "--rank", "0").splitlines()
    assert shown[1].startswith("-- first: rank 1: ")
    assert shown[-1] == "[rank 0] RuntimeError: Connection closed by peer"
    assert not any(line.startswith("[rank 1] ") for line in shown)
    assert main(["logs", str(run.run.path), "--errors", "--rank", "9"]) == 2
    assert "has no log of rank 9" in capsys.readouterr().err


def test_what_contradicts_itself_is_refused(run, capsys):
    for more in (["--follow"], ["--tail", "3"]):
        assert main(["logs", str(run.run.path), "--errors", *more]) == 2
        assert "use it without --follow and --tail" in capsys.readouterr().err


def test_a_run_that_has_not_failed_has_no_errors(pretend, commands, printed):
    commands(squeue='echo "7|RUNNING|N/A|None"')
    run = pretend()
    run.submitted()
    run.attempt(1)
    run.beat(0)
    run.log("attempt-001-rank-00000.log", "INFO the error of the fit: 0.1\n0 errors\n")
    shown = printed("logs", run.run.path, "--errors").splitlines()
    assert shown[0].startswith("== attempt 1: not_failed: ")
    assert shown[1:] == ["no line of a rank's log tells of a failure"]
