"""`ptycho-launch report`: one run on one page, whatever has become of it."""

import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from launcher.cli import main
from launcher.control.code_state import OwnCode
from launcher.pages.html import render_page
from launcher.run_report.facts import read_run_facts
from launcher.run_report.page import page_of
from launcher.run_report.pictures import MOST_PICTURES
from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.plain_data import run_config_to_json
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LedgerWriter, rank_writer
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.rundir.step_times import PHASES, START_UP, TimesWriter, block_record
from ptycho_dist.rundir.step_times import Block as TimesBlock

EPOCH = 5  # optimizer steps: 37 samples by 8
T0 = 1_700_000_000.0
HOSTILE = "<script>alert(1)</script>\x1b[31m$\\frac{1}{0}$\x00‮"


def picture(path, number=0):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, number])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=20)
    return path


def train(ledger, rank, epoch):
    """One epoch of two ranks with batches of 4, committed."""
    ranges = [[rank * 4, 4, 8, 4], [32 + rank * 3, 3 - rank, 3 - rank, 1]]
    step = EPOCH * (epoch + 1)
    ledger.append("consumed", step=step, epoch=epoch, ranges=ranges)
    if rank == 0:
        ledger.append("checkpoint_committed", step=step, epoch=epoch + 1, sample=0, seconds=0.5)
        row = {"train_loss": 1.0 / (epoch + 1), "val_loss": 2.0 / (epoch + 1)}
        ledger.append("epoch_finished", step=step, epoch=epoch, patterns_per_s=9.0, **row)


def write_times(run, attempt, started_at, first_step, steps, slow=0.0, ranks=2):
    """A second a step and a rank: what rank 0 does longer, the others wait for."""
    for rank in range(ranks):
        work = 0.6 + (slow if rank == 0 else 0.0)
        start_up = dict.fromkeys(START_UP, 0.5)
        records = [
            {"kind": "rank", "node": f"n{rank}", "cores": 2, "threads": 1, "device": "cpu",
             "started_at": started_at + 1, "start_up_s": start_up}
        ]  # fmt: skip
        for done in range(steps):
            parts = dict.fromkeys(PHASES, 0.0) | {"forward_backward": work, "reduction": 1 - work}
            if done == 0:
                parts["checkpoint"] = 2.0
            ended_at = started_at + 5 + done
            wall_s = sum(parts.values())
            records.append(
                block_record(TimesBlock(first_step + done, 1, 4, ended_at, wall_s, parts))
            )
        TimesWriter(run, attempt, rank).put(records)


def set_record(run, number, **values):
    path = run.attempts / f"{number:03d}.json"
    write_json_atomic(path, {**read_json(path), **values})


@pytest.fixture
def killed(make_config, tmp_path, commands):
    """Two epochs and a kill behind the second, whose checkpoint was damaged; then the rest."""
    commands()
    config = make_config("resources: {tasks_per_node: 2}\ntraining: {nepochs: 3, batch_size: 4}")
    loaded = read_run_config(config, ["execution.learning_rate=0.5"]).sound()
    plan = RunPlan(world=world_of(loaded.config, 37))
    run = prepare_run(tmp_path / "runs" / "r-20260101-000000-0001", loaded, plan, "#!/bin/bash\n")
    for attempt, epochs in ((1, (0, 1)), (2, (1, 2))):
        begin_attempt(run, job_id="7", cluster="local", nodes=["n0"], restarted=attempt == 2)
        for rank in (0, 1):
            with LedgerWriter(run, attempt, rank_writer(rank)) as ledger:
                if rank == 0:
                    ledger.append(
                        "joined", device="cpu", threads=1, strategy="ddp", backend="gloo",
                        versions={"torch": "2.13"}, variables={"NCCL_DEBUG": "INFO", "x": 7},
                    )  # fmt: skip
                step, epoch = EPOCH * epochs[0], epochs[0]
                if attempt == 2:
                    ledger.append("resumed_from", checkpoint="c", step=step, of_attempt=1)
                ledger.append(
                    "training_started", step=step, epoch=epoch, sample=0, ranks=2, batch_size=4,
                    samples=37,
                )  # fmt: skip
                for epoch in epochs:
                    train(ledger, rank, epoch)
                if attempt == 2:
                    ledger.append("finished", step=3 * EPOCH)
    ending = {"outcome": "failed", "cause": "crash", "reason": "died", "step": 10}
    set_record(run, 1, started_at=T0, ended_at=T0 + 20, exit_code=1, outcome="failed",
               ending=ending)  # fmt: skip
    ending = {"outcome": "finished", "cause": "finished", "reason": "", "step": 15}
    set_record(run, 2, started_at=T0 + 40, ended_at=T0 + 60, exit_code=0, outcome="finished",
               ending=ending)  # fmt: skip
    write_json_atomic(run.result_json, {"attempt": 2, "steps": 3 * EPOCH})
    return run


def page(run):
    return render_page(page_of(read_run_facts(run)))


def words_of(html):
    """Its text as a reader sees it, drawings included."""
    found = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(re.sub(r"<style>.*?</style>", "", html, flags=re.S))
    return " ".join(" ".join(found).split())


def test_a_run_with_a_kill_on_one_page(killed, capsys):
    """SC-080, SC-082, SC-084, SC-086"""
    write_times(killed, 1, T0, 0, 10)
    write_times(killed, 2, T0 + 40, 5, 10, slow=0.3)
    picture(killed.picture)
    picture(killed.reconstruction / "epoch-0001" / "patches.png")
    assert main(["report", str(killed.path)]) == 0
    said = capsys.readouterr()
    place = killed.path / "report.html"
    assert (said.out, said.err) == (f"{place}\n", "")
    html = place.read_text("utf-8")
    links = re.findall(r"(?:src|href|action|url)\s*[=(]\s*[\"']?([^\"'\s>)]+)", html)
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert "<script" not in html
    text = words_of(html)
    assert "1 epoch completed after the checkpoint" in text
    assert "these epochs gave bitwise identical losses" in text
    assert "proven: 3 epochs of 37 samples, each used once; 2 attempts" in text
    assert "a rank failed: died" in text
    assert re.search(
        r"Rank 0 on n0 needs the most time for its own work: 900 ms per step.*600 ms", text
    )
    assert "The other ranks wait for it during 33 % of its step." in text
    assert html.count("data:image/png") == 2


def test_the_figures_of_the_page_as_data(killed, capsys):
    """SC-080, SC-082, SC-085, SC-086: step times are 1 s a step, with 2 s for a checkpoint."""
    write_times(killed, 1, T0, 0, 10)
    write_times(killed, 2, T0 + 40, 5, 10)
    assert main(["report", str(killed.path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert not (killed.path / "report.html").exists()
    assert (data["format"], data["state"], data["left_out"]) == (1, "finished", [])
    epochs = [(e["epoch"], e["attempt"], e["standing"]) for e in data["epochs"]]
    assert epochs == [
        (0, 1, "committed"), (1, 1, "given_up"), (1, 2, "committed"), (2, 2, "committed")
    ]  # fmt: skip
    first, second = data["attempts"]
    assert (first["kept_steps"], second["kept_steps"]) == (5, 10)
    assert (second["from_step"], second["of_attempt"], second["waited_s"]) == (5, 1, 20.0)
    assert first["start_up_s"] == {"launch": 1.0, **dict.fromkeys(START_UP, 0.5)}
    goodput = data["goodput"]
    assert goodput["measured"]
    assert goodput["useful_s"] == pytest.approx(15.0)
    assert (goodput["attempts_s"], goodput["elapsed_s"]) == (40.0, 60.0)
    assert data["proof"]["given_up"] == 37
    assert data["parts"]["2"]["parts_s"]["checkpoint"] == pytest.approx(2.0)
    software = data["provenance"]["software"]
    assert software == {"torch": "2.13", "NCCL_DEBUG": "INFO"}


def test_a_run_without_step_times_says_so(killed):
    """SC-084, SC-085"""
    facts = read_run_facts(killed)
    text = words_of(page(killed))
    assert "This run has no step times" in text
    assert "patterns/s of all ranks" in text
    assert "No step times were recorded for this run" in text
    assert not facts.goodput.measured
    assert not facts.parts


def test_without_a_ledger_metrics_csv_is_believed(killed):
    """SC-081, SC-082"""
    for path in killed.ledger.iterdir():
        path.unlink()
    killed.result_json.unlink()
    rows = "epoch,step,train_loss,val_loss\n0,5,1.5,nan\n1,10,inf,\nx,1,1,1\n"
    (killed.metrics / "metrics.csv").write_text(rows)
    facts = read_run_facts(killed)
    assert [(e.epoch, e.train_loss, e.val_loss, e.standing) for e in facts.epochs] == [
        (0, 1.5, None, "committed"), (1, None, None, "committed")
    ]  # fmt: skip
    assert "metrics/metrics.csv: 1 rows without a valid epoch and step" in facts.left_out
    assert "It is not proven which epochs are in the weights." in words_of(page(killed))


def test_a_place_of_its_own_and_one_that_cannot_be_written(killed, tmp_path, capsys):
    """SC-080"""
    place = tmp_path / "mine.html"
    assert main(["report", str(killed.path), "--output", str(place)]) == 0
    assert place.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert not (killed.path / "report.html").exists()
    for wrong, why in ((tmp_path / "no" / "x.html", "No such file"), (tmp_path, "is a directory")):
        assert main(["report", str(killed.path), "--output", str(wrong)]) == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1


def test_an_array_and_a_study_are_refused_with_what_to_name(killed, tmp_path, capsys):
    """SC-080"""
    array = ArrayDirectory(tmp_path / "runs" / "a-20260101-000000-0002")
    member = array.path / "members" / f"{array.array_id}.000"
    shutil.copytree(killed.path, member)
    write_json_atomic(array.array_json, {"format": 1})
    asked = ["report", "a-2026", "--runs-dir", str(tmp_path / "runs")]
    assert main(asked) == 2
    assert f"name one of them, {array.array_id}.000" in capsys.readouterr().err
    write_json_atomic(array.path / "study.json", {})
    assert main(asked) == 2
    assert f"`ptycho-launch scale report {array.path}`" in capsys.readouterr().err
    assert main([asked[0], f"{array.array_id}.000", *asked[2:], "--json"]) == 0


FAILURES = Path(__file__).parent / "failures"


@pytest.mark.parametrize("name", ["nan_loss", "checkpoints_damaged", "public_nccl_timeout"])
def test_a_failure_comes_first_as_explain_says_it(name, tmp_path, commands):
    """SC-081"""
    commands()
    shutil.copytree(FAILURES / name / "r-1", tmp_path / "r-1")
    facts = read_run_facts(RunDirectory(tmp_path / "r-1"))
    first = page_of(facts).sections[0]
    expected = read_json(FAILURES / name / "expected.json")
    if facts.explanation is None:  # nobody here can say whether it is over
        assert facts.state == "unknown"
        return
    assert first.heading == "Why it ended"
    assert expected["cause"] in first.blocks[0].text
    assert facts.explanation.summary in words_of(render_page(page_of(facts)))


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in FAILURES.glob("*/expected.json"))
)
def test_every_failure_that_is_known_has_a_report(name, tmp_path, commands):
    """SC-081"""
    commands()
    shutil.copytree(FAILURES / name / "r-1", tmp_path / "r-1")
    facts = read_run_facts(RunDirectory(tmp_path / "r-1"))
    assert json.loads(json.dumps(facts.to_json(), allow_nan=False))["run_id"] == "r-1"


def test_a_run_at_work_says_so(pretend, commands):
    """SC-081, SC-082: an epoch that no checkpoint stands for yet is not given up."""
    commands(squeue='echo "7|RUNNING|2026-01-01T00:00:00|None"')
    told = pretend()
    told.submitted()
    told.attempt(1)
    with LedgerWriter(told.run, 1, rank_writer(0)) as ledger:
        ledger.append("training_started", step=0, epoch=0, sample=0, ranks=2)
        ledger.append("epoch_finished", step=3, epoch=0, train_loss=0.25)
    told.beat(0, progress={"patterns_per_s": 4.0})
    facts = read_run_facts(told.run)
    assert facts.attempts[0].at_work
    assert facts.epochs[0].standing == "open"
    text = words_of(page(told.run))
    assert "This run is not over: it is running" in text
    assert "Not yet covered by a committed checkpoint: 1 epoch." in text


GARBAGE = (
    b"",
    b"\xff\xfe\x00{",
    b"[]",
    b'{"number": [], "config": 3, "states": {}, "jobs": 7}',
    b"[" * 100_000,
    b'{"time": NaN}\n{"time": 1e999, "event": []}\n',
    b"9" * 5000,
)


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_what_is_damaged_is_left_out(killed, number):
    """SC-081: file by file, and then all of them."""
    write_times(killed, 2, T0 + 40, 5, 10)
    picture(killed.picture)
    (killed.metrics / "metrics.csv").write_text("epoch,step\n")
    write_json_atomic(killed.reconstruction_metrics, {"reconstruction": {}})
    write_json_atomic(killed.code_json, {})
    write_json_atomic(killed.submission_json, {"format": 1, "jobs": []})
    killed.heartbeats.joinpath("rank-00000.json").write_text("{}")
    files = sorted(path for path in killed.path.rglob("*") if path.is_file())
    kept = {path: path.read_bytes() for path in files}
    for path, content in kept.items():
        path.write_bytes(GARBAGE[number])
        json.dumps(read_run_facts(killed).to_json(), allow_nan=False)
        path.write_bytes(content)
    for path in files:
        path.write_bytes(GARBAGE[number])
    facts = read_run_facts(killed)
    assert any("attempts/001.json" in note for note in facts.left_out)
    assert any("reconstruction/object.png" in note for note in facts.left_out)
    assert "of the run directory could not be read" in words_of(page(killed))


def test_nothing_of_a_run_reaches_the_page_as_html(killed, capsys):
    """SC-088, SC-087"""
    write_times(killed, 2, T0 + 40, 5, 10)
    ending = {"outcome": HOSTILE, "cause": HOSTILE, "reason": HOSTILE, "step": 10}
    set_record(killed, 1, job_id=HOSTILE, nodes=[HOSTILE], cause=HOSTILE, ending=ending)
    record = read_json(killed.run_json)
    record["revisions"] = [{"at": 1.0, "changes": {HOSTILE: HOSTILE, "env.TOKEN": "s3cret!"}}]
    record["config_sha256"] = HOSTILE
    write_json_atomic(killed.run_json, record)
    state = {"sha256": HOSTILE, "checkouts": {HOSTILE: {"commit": HOSTILE}}, "diff": HOSTILE}
    write_json_atomic(killed.code_json, {"states": [state]})
    scores = {"reconstruction": {HOSTILE: 1.0}, "truth": HOSTILE}
    write_json_atomic(killed.reconstruction_metrics, scores)
    (killed.metrics / "metrics.csv").write_text(f"epoch,step,{HOSTILE}\n{HOSTILE},1,2\n")
    with LedgerWriter(killed, 2, rank_writer(0)) as ledger:
        ledger.append("checkpoint_failed", step=9, reason=HOSTILE)
        ledger.append("joined", device=HOSTILE, versions={HOSTILE: HOSTILE})
    html = page(killed)
    assert "&lt;script&gt;alert(1)" in html
    assert not re.search(r"<script|\x1b|\x00|‮|s3cret", html)
    assert main(["report", str(killed.path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_pictures_are_few_whole_and_of_this_run(killed, tmp_path):
    """SC-083"""
    picture(killed.picture)
    for epoch in range(40):
        for name in ("object.png", "patches.png"):
            place = killed.reconstruction / f"epoch-{epoch:04d}" / name
            place.parent.mkdir(exist_ok=True)
            shutil.copy(killed.picture, place)
    found = read_run_facts(killed).pictures
    assert len(found) == MOST_PICTURES
    assert found[0].epoch is None
    objects = [each.epoch for each in found[1:] if each.kind == "object"]
    patches = [each.epoch for each in found[1:] if each.kind == "patches"]
    assert (objects[0], objects[-1], patches[0], patches[-1]) == (0, 39, 0, 39)
    first = killed.reconstruction / "epoch-0000"
    outside = picture(tmp_path / "outside.png")
    (first / "object.png").unlink()
    (first / "object.png").symlink_to(outside)
    (first / "patches.png").write_bytes(outside.read_bytes()[:-5])
    killed.picture.write_bytes(b"<svg onload=alert(1)>")
    facts = read_run_facts(killed)
    assert len(facts.pictures) == MOST_PICTURES - 3
    notes = "\n".join(facts.left_out)
    for name, why in (
        ("epoch-0000/object.png", "leads out of the run directory"),
        ("epoch-0000/patches.png", "cut short"),
        ("object.png", "is not a PNG"),
    ):
        assert re.search(rf"reconstruction/{name}: .*{why}", notes)


def test_the_command_makes_the_same_config(killed, tmp_path, monkeypatch):
    """SC-087: of run.yaml and what was set beside it."""
    OwnCode().record(killed)
    (killed.path / "run.yaml").write_text(
        (killed.path / "run.yaml").read_text().replace(str(tmp_path), "elsewhere")
    )
    monkeypatch.chdir(tmp_path)
    words = shlex.split(read_run_facts(killed).provenance.repeat[-1])
    assert words[:2] == ["ptycho-launch", "submit"]
    assert words[3:5] == ["--cluster", "local"]
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    again = read_run_config(Path(words[2]), sets).sound()
    assert "execution.learning_rate=0.5" in sets
    assert run_config_to_json(again.config) == run_config_to_json(killed.config())
