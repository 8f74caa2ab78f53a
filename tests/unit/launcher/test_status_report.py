"""What `status` and `list` show to people and scripts, and how they show damage."""

import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import fork_client
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from waiting import HANG_S

from launcher.cli import main
from launcher.status.details import details_of
from launcher.status.run_status import status_of
from launcher.watching.watch import watch

SCHEMA = json.loads((Path(__file__).parents[3] / "specs" / "status.schema.json").read_text())
ESCAPE = "\x1b]0;pwned\x07\x1b[31m"


def valid(document):
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


def training(step, **more):
    return {"epoch": 0, "epochs": 9, "step": step, "total_steps": 90, "loss": 0.5, **more}


@pytest.fixture
def at_work(pretend, commands):
    """Attempt 2 of a run, requeued after its walltime; the next walltime is too short as well."""
    commands(squeue='echo "7|RUNNING|2026-01-01T00:00:00|None"')
    run, now = pretend(), time.time()
    run.submitted()
    run.attempt(1, ended=("stopped", "timeout", "asked to stop by SIGUSR2"), restart=True)
    run.attempt(2, ends_at=now + 100)
    event = {"event": "resumed_from", "step": 8, "of_attempt": 1}
    (run.run.ledger / "002-rank-00000.jsonl").write_text(f"torn\n[]\n{json.dumps(event)}\n")
    clock = {"began_at": now - 100, "began_step": 8}
    for rank, own_s in enumerate((0.1, 2.0)):
        run.beat(
            rank, attempt=2, updated_at=now,
            progress=training(28, patterns_per_s=4.0, own_s=own_s, batch_s=2.5, **clock),
        )  # fmt: skip
    run.now = now
    return run


def test_a_run_at_work(at_work, capsys):
    """RD-204 to RD-206, RD-208, RD-211"""
    document = valid(details_of(at_work.run, status_of(at_work.run)).to_json())
    assert document["progress"]["patterns_per_s"] == 8.0
    assert [bool(rank["straggler"]) for rank in document["ranks"]] == [False, True]
    assert document["training_ends_at"] == pytest.approx(at_work.now + 62 * 5, abs=1)
    assert document["beyond_walltime"]
    past, present = document["history"]
    assert (past["cause"], past["reached_step"]) == ("timeout", 9)
    assert (present["resumed_from_step"], present["resumed_from_attempt"]) == (8, 1)
    assert main(["status", str(at_work.run.path)]) == 0
    shown = capsys.readouterr().out
    assert "requeued (restart 2 of 2)" in shown
    assert "rank 1 is slow: 2 s of own work per micro-batch, the others 0.1 s" in shown
    assert "walltime: asked to stop by SIGUSR2" in shown
    assert re.search(r"\n +2 .* 8 of 1 .* requeued by itself", shown)
    assert shown.endswith(f"ptycho-launch status {at_work.run.path} --watch\n")
    assert "\x1b" not in shown


def test_the_policy_tells_what_follows_the_walltime(at_work):
    """RD-205"""
    plan = json.loads(at_work.run.plan_json.read_text())
    for policy, words in (
        ({"on": ["timeout"], "max_restarts": 1}, "its 1 restarts are used up"),
        ({"on": ["preempt"], "max_restarts": 9}, "requeue.on does not name timeout"),
        ("nonsense", "it will stop there with a checkpoint"),
    ):
        at_work.run.plan_json.write_text(json.dumps({**plan, "requeue": policy}))
        assert words in details_of(at_work.run, status_of(at_work.run)).warning


def test_a_rank_that_has_not_been_seen_is_named(at_work, capsys):
    (at_work.run.heartbeats / "rank-00001.json").unlink()
    main(["status", str(at_work.run.path)])
    assert "1 of 2 ranks have not been seen yet: 1" in capsys.readouterr().out


def test_a_job_that_waits_says_why_and_until_when(pretend, commands, capsys):
    """RD-203"""
    commands(squeue='echo "7|PENDING|2026-01-01T12:00:00|PartitionTimeLimit"')
    run = pretend()
    run.submitted()
    document = valid(details_of(run.run, status_of(run.run)).to_json())
    assert document["waiting"]["code"] == "PartitionTimeLimit"
    noon = time.mktime(time.strptime("2026-01-01T12:00", "%Y-%m-%dT%H:%M"))
    assert document["starts_at"] == noon
    main(["status", str(run.run.path)])
    shown = capsys.readouterr().out
    assert "more walltime than its partition allows (PartitionTimeLimit) [source: squeue]" in shown
    assert "what helps: lower resources.time" in shown
    assert "start: expected 2026-01-01 12:00:00" in shown


@pytest.mark.parametrize(
    ("ended", "command"),
    [
        (("failed", "crash", "it broke"), "explain RUN"),
        (("stopped", "timeout", ""), "resume RUN"),
    ],
)
def test_the_next_command_works_in_this_directory(
    pretend, commands, capsys, monkeypatch, ended, command
):
    """RD-211: it uses the id if the run is in the default directory of runs."""
    run = pretend()
    run.submitted()
    run.attempt(ended=ended)
    run.log("batch-7.log", "error: it broke\n")
    for reference, usual in (
        (str(run.run.path), "elsewhere"),
        (run.run.run_id, run.run.path.parent),
    ):
        monkeypatch.setenv("PTYCHO_DIST_RUNS_DIR", str(usual))
        main(["status", str(run.run.path)])
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.endswith(f"ptycho-launch {command.replace('RUN', reference)}")
        words = last.partition("ptycho-launch ")[2].split()
        if words[0] == "logs":
            assert main(words) == 0
            capsys.readouterr()


def test_status_without_a_run_is_that_of_the_newest(pretend, capsys, tmp_path):
    """RD-209: by the time in the name, whatever the name begins with."""
    pretend("zz-20260101-000000-0001")
    newest = pretend("aa-20260301-000000-0001")
    pretend("mm-20260201-000000-0001")
    assert main(["status", "--runs-dir", str(tmp_path / "runs"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["run_id"] == newest.run.run_id
    assert said.err == f"no RUN named: taking the newest, {newest.run.run_id}\n"
    assert main(["status", "--runs-dir", str(tmp_path / "none")]) == 2
    assert "no runs in" in capsys.readouterr().err


def test_list_by_state(pretend, commands, capsys, tmp_path):
    """RD-209"""
    failed, prepared = pretend("b-20260101-000000-0001"), pretend("a-20260102-000000-0001")
    failed.submitted()
    failed.attempt(ended=("failed", "crash", "it broke"))
    root = ["list", "--runs-dir", str(tmp_path / "runs")]
    main(root)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["run", "state", "job"]
    assert [line.split()[0] for line in lines] == [failed.run.run_id, prepared.run.run_id]
    main([*root, "--state", "failed,running", "--json"])
    (document,) = json.loads(capsys.readouterr().out)
    assert valid(document)["run_id"] == failed.run.run_id
    assert main([*root, "--state", "broken"]) == 2
    assert "no such state; the states are prepared, pending" in capsys.readouterr().err


KINDS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=5),
    st.just(ESCAPE), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(), st.none()),
)  # fmt: skip


@settings(max_examples=40)
@given(data=st.data())
def test_damage_is_one_line_and_never_a_traceback(at_work, capsys, data):
    """RD-210: any entry of any file may have another type, or be missing."""
    run = at_work.run
    paths = [
        run.submission_json, run.attempts / "001.json", run.attempts / "002.json",
        run.heartbeats / "rank-00000.json", run.plan_json, run.ledger / "002-rank-00000.jsonl",
    ]  # fmt: skip
    path = data.draw(st.sampled_from(paths))
    before = path.read_bytes()
    document = json.loads(before.splitlines()[-1] if path.suffix == ".jsonl" else before)
    place = data.draw(st.sampled_from(["whole", *document]))
    value = data.draw(KINDS)
    inner = document.get(place)
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        inner[data.draw(st.sampled_from(sorted(inner)))] = value
    elif place == "whole":
        document = value
    else:
        document[place] = value
    try:
        path.write_text(f"{json.dumps(document)}\n")
        code = main(["status", str(run.path)])
        shown = capsys.readouterr()
        assert code == 0 or (code == 2 and len(shown.err.splitlines()) == 1)
        assert "\x1b" not in shown.out
        assert main(["list", "--runs-dir", str(run.path.parent)]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        if main(["status", str(run.path), "--json"]) == 0:
            valid(json.loads(capsys.readouterr().out, parse_constant=pytest.fail))
    finally:
        path.write_bytes(before)
        capsys.readouterr()


def on_a_terminal(columns, *arguments):
    """Returns what a command prints on a terminal of this width, and its exit code."""
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = fork_client.Popen(
        [sys.executable, "-m", "launcher", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(own, 65536)
        except OSError:
            break
        shown += block
        if not block:
            break
    os.close(own)
    return shown.decode(), process.wait(timeout=HANG_S)


def test_nothing_is_wider_than_the_terminal(at_work):
    """RD-210, RD-211: names and reasons with control sequences."""
    at_work.beat(
        1, attempt=2, state="failed", node="a-long-name-of-a-node.of.a.centre.example.org",
        reason=f"RuntimeError: {ESCAPE} {'word ' * 60}",
    )  # fmt: skip
    root = str(at_work.run.path.parent)
    for columns, command in ((50, "list"), (66, "status")):
        shown, code = on_a_terminal(columns, command, "--runs-dir", root)
        assert code == 0, shown
        assert "pwned" not in shown
        lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines()
        if command == "status":  # but for the command that is to be pasted
            assert "ptycho-launch status" in lines.pop()
        assert max(map(len, lines)) <= columns, lines


def test_a_live_table_is_no_larger_than_the_terminal(at_work, commands):
    """RD-207: with a thousand ranks; it ends with the run."""
    run = at_work.run
    for rank in range(2, 1000):
        at_work.beat(rank, attempt=2, progress=training(28))
    at_work.beat(999, attempt=2, state="failed", reason="it broke first")
    at_work.log("attempt-002-rank-00000.log", f"first\nlast {ESCAPE}words\n\n")
    commands(squeue='echo "7|FAILED|2026-01-01T00:00:00|None"')
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=70, height=20)
    assert watch(run, console).state == "failed"
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert max(map(len, text.splitlines())) <= 70
    for frame in text.split(f"{run.run_id}: ")[1:]:
        assert 15 < len(frame.splitlines()) <= 20
    assert re.search(r"999 +n1 +failed", text)
    assert "and 991 more ranks" in text
    assert "rank 0: last words" in text
    assert "pwned" not in text


def test_ctrl_c_ends_the_watching_alone(at_work, capsys, monkeypatch):
    """RD-207"""

    def interrupted(seconds):
        raise KeyboardInterrupt

    stands_for_time = SimpleNamespace(monotonic=time.monotonic, sleep=interrupted)
    monkeypatch.setattr("launcher.watching.watch.time", stands_for_time)
    assert main(["status", str(at_work.run.path), "--watch"]) == 130
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("epoch 1/9  step 28/")
    assert "stopped watching; the run continues" in out
    assert err == ""
