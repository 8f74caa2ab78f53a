"""`explain` on genuine failures (failures/README.md), on runs without one, and on hostile input."""

import io
import json
import re
import shutil
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from launcher.cli import COMMANDS
from launcher.explain import evidence as evidence_module
from launcher.explain.advice import ADVICE, advice_for
from launcher.explain.batch_log import of_slurm
from launcher.explain.causes import BY_NAME, CAUSES
from launcher.explain.evidence import gather
from launcher.explain.explain import explain
from launcher.explain.judge import judge
from launcher.explain.present import show_explanation
from launcher.explain.reading import HEAD_BYTES, TAIL_BYTES, Line, clean, read_log
from launcher.slurm.job_state import JobState
from launcher.slurm.sacct import accounted, parse_sacct
from ptycho_dist.config.run import RunConfig
from ptycho_dist.errors import ClusterUnreachable, UserError
from ptycho_dist.rundir.layout import RunDirectory

FAILURES = sorted(
    path.parent for path in (Path(__file__).parent / "failures").glob("*/expected.json")
)
HEALTHY = sorted((Path(__file__).parent / "healthy_logs").glob("*.log"))


class RecordedScheduler:
    """A scheduler that gives the answers of SLURM's commands when the failure was recorded."""

    def __init__(self, folder):
        path = folder / "slurm.json"
        self.said = json.loads(path.read_text()) if path.exists() else {}

    def job_state(self, job_id):
        if "squeue" not in self.said:
            raise ClusterUnreachable("SLURM does not answer")
        state, _, reason = self.said["squeue"].partition("|")
        return JobState(state, reason, "squeue")


@pytest.fixture
def explained(monkeypatch):
    def of(folder, run=None, attempt=None, sacct=True):
        told = RecordedScheduler(folder)
        account = parse_sacct(told.said.get("sacct", "")) if sacct else []
        monkeypatch.setattr(evidence_module, "accounted", lambda job_id: account)
        return explain(run or RunDirectory(folder / "r-1"), attempt, told)

    return of


@pytest.fixture
def copy_of(tmp_path):
    def copy(name):
        folder = tmp_path / name
        shutil.copytree(Path(__file__).parent / "failures" / name, folder)
        return folder, RunDirectory(folder / "r-1")

    return copy


@pytest.mark.parametrize("folder", FAILURES, ids=lambda folder: folder.name)
def test_a_genuine_failure_is_explained(folder, explained):
    """RD-230 to RD-234: the class, the first rank, a line of evidence, and a field or command."""
    expected = json.loads((folder / "expected.json").read_text())
    found = explained(folder, attempt=expected.get("attempt"))
    assert found.cause == expected["cause"]
    assert found.first_rank == expected["first_rank"]
    assert found.confidence == expected["confidence"]
    texts = [line.text for line in found.evidence]
    if expected["evidence"] is None:
        assert texts == []
    else:
        assert any(expected["evidence"] in text for text in texts), texts
    for line in found.evidence:
        if line.number is not None:
            lines = (folder / "r-1" / line.file).read_text().split("\n")
            assert clean(line.text) in clean(
                re.sub(r"^\[rank\d+\]:\s?", "", lines[line.number - 1])
            )
    assert expected["advice"] in " ".join(found.advice)
    assert json.loads(json.dumps(found.to_json()))["cause"] == found.cause


def test_the_json_is_as_the_specification_lists_it(explained):
    """RD-236"""
    text = (Path(__file__).parents[3] / "specs" / "run_directory.md").read_text("utf-8")
    clause = text.split("**RD-236**")[1].split("- **RD-")[0]
    found = explained(FAILURES[0].parent / "slurm_sigkill").to_json()
    listed = set(re.findall(r"`([a-z_]+)`", clause)) - {"explain"}
    assert set(found) | set(found["evidence"][0]) == listed
    assert (found["format"], found["first_rank"], found["followers"]) == (1, 3, [0, 1, 2])
    assert found["exit_code"] == 137


def test_the_failures_are_many_and_most_classes_among_them():
    names = [json.loads((folder / "expected.json").read_text())["cause"] for folder in FAILURES]
    produced = [folder for folder in FAILURES if not folder.name.startswith("public_")]
    assert len(produced) >= 25
    assert set(BY_NAME) - set(names) == {"wrong_world", "ranks_disagree"}


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.stem)
def test_nothing_is_found_in_the_log_of_a_healthy_rank(path):
    """RD-233"""
    log = read_log(path.parent, path)
    assert len(log.lines) > 1
    found = {(c.name, line.text) for line in log.telling for c in CAUSES if c.fits(line.text)}
    assert found == set()


def test_what_healthy_logs_say_would_be_found_without_the_filter():
    """The test above can fail: without the filter, signs are found in healthy logs."""
    texts = [line for path in HEALTHY for line in path.read_text().splitlines()]
    found = {c.name for text in texts for c in CAUSES if c.fits(text)}
    assert {"disk_full", "unresolvable_host", "driver_too_old"} <= found


def test_every_class_has_advice_that_names_fields_and_commands_that_exist():
    """RD-234"""
    assert set(ADVICE) == set(BY_NAME)
    sections = typing.get_type_hints(RunConfig)
    for name in BY_NAME:
        text = " ".join(advice_for(name, run="r-1", rank="3", node="node2"))
        assert "{" not in text.replace("{NCCL_DEBUG: INFO}", "")
        commands = re.findall(r"ptycho-launch (\w+)", text)
        fields = re.findall(r"\b([a-z]+)\.([a-z_]+)\b", text)
        known = [(section, field) for section, field in fields if section in sections]
        assert commands or known or "ptycho-data" in text, name
        for command in commands:
            assert command in COMMANDS, f"{name}: {command}"
        for section, field in known:
            assert hasattr(sections[section], field) or field in typing.get_type_hints(
                sections[section]
            ), f"{name}: {section}.{field}"


def test_resume_accepts_the_fields_that_the_advice_sets():
    from launcher.control.changes import MAY_CHANGE

    for name in BY_NAME:
        for command in re.findall(r"`(ptycho-launch resume [^`]*)`", " ".join(ADVICE[name])):
            for field in re.findall(r"--set '?([a-z]+\.[a-z_]+)", command):
                allowed = any(field == each or field.startswith(each) for each in MAY_CHANGE)
                assert allowed, f"{name}: resume refuses {field}"


# --- precedence ---


def test_without_accounting_it_is_unknown_who_cancelled(explained, copy_of):
    """RD-232: for the class, the record of the batch script is enough."""
    folder, run = copy_of("slurm_scancel")
    found = explained(folder, run, sacct=False)
    assert (found.cause, found.confidence) == ("cancelled", "recorded")
    assert "root" not in found.summary


def test_slurm_outweighs_what_the_batch_script_took_for_a_request(explained, copy_of):
    """RD-232: the script had recorded `cancelled`, but the node had been set to down."""
    folder, run = copy_of("slurm_node_down")
    record = json.loads((run.attempts / "001.json").read_text())
    assert record["ending"]["cause"] == "cancelled"
    assert explained(folder, run).cause == "node_failure"
    without = explained(folder, run, sacct=False)
    assert (without.cause, without.confidence) == ("node_failure", "read")


def test_a_run_that_failed_before_it_was_cancelled_has_failed(explained, copy_of):
    """RD-232"""
    folder, run = copy_of("nan_loss")
    record = json.loads((run.attempts / "001.json").read_text())
    for seconds, cause in ((-3600, "cancelled"), (-0.001, "nan_loss")):
        event = {
            "time": record["ended_at"] + seconds, "attempt": 1, "writer": "launcher",
            "event": "cancel_requested", "job_id": record["job_id"], "by": "bob",
        }  # fmt: skip
        record["started_at"] = min(record["started_at"], event["time"] - 1)
        (run.attempts / "001.json").write_text(json.dumps(record))
        (run.ledger / "001-launcher.jsonl").write_text(json.dumps(event) + "\n")
        assert explained(folder, run).cause == cause


def test_a_specific_reason_outweighs_a_general_one_and_the_log_of_another_rank(explained, copy_of):
    """RD-231, RD-232: NCCL only says that it failed; the rank's own log says why."""
    folder, run = copy_of("public_nccl_no_route")
    log = run.rank_log(1, 1)
    log.write_text(log.read_text() + "OSError: [Errno 28] No space left on device\n")
    run.rank_log(1, 0).write_text("ncclRemoteError: remote process exited\n")
    found = explained(folder, run)
    assert (found.cause, found.first_rank) == ("disk_full", 1)


def test_a_recorded_reason_outweighs_what_else_a_log_holds(explained, copy_of):
    """RD-232"""
    folder, run = copy_of("nan_loss")
    log = run.rank_log(1, 0)
    log.write_text("OSError: [Errno 28] No space left on device\n" + log.read_text())
    assert explained(folder, run).cause == "nan_loss"


def test_words_of_setup_count_only_where_no_rank_lived(explained, copy_of):
    """RD-232: a line of setup that failed without ending the script is not the cause."""
    folder, run = copy_of("slurm_sigkill")
    batch = run.logs / "batch-8.log"
    text = "/var/spool/job8/slurm_script: line 20: conda: command not found\n" + batch.read_text()
    batch.write_text(text)
    assert explained(folder, run).cause == "killed"


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_a_class_is_known_by_no_word_of_an_earlier_one(cause):
    """A class that an earlier one always hides would never be named."""
    samples = {
        "wrong_world": "slurm started 1 ranks, the plan has 4",
        "ranks_disagree": "the ranks differ: plan: rank 0 on a has x, rank 1 on b has y",
    }
    if cause.name not in samples:
        return_for = [json.loads((f / "expected.json").read_text())["cause"] for f in FAILURES]
        assert cause.name in return_for
        return
    assert next(each for each in CAUSES if each.fits(samples[cause.name])) is cause


# --- input that nobody trusts ---


@pytest.mark.parametrize("place", ["batch", "rank", "heartbeat", "record"])
def test_terminal_escapes_do_not_reach_the_terminal(explained, copy_of, place):
    """RD-235"""
    evil = "\x1b]0;owned\x07\x1b[31mNo space left on device\x1b[0m\u202e \x9b2J[bold]"
    name = {"batch": "public_oom_kill", "rank": "public_quota"}.get(place, "sigkill")
    folder, run = copy_of(name)
    if place == "batch":
        path = run.logs / "batch-12.log"
        path.write_text(path.read_text() + f"slurmstepd: error: oom_kill {evil}\n")
    elif place == "rank":
        run.rank_log(1, 0).write_text(f"OSError: {evil}\n")
    elif place == "heartbeat":
        path = run.heartbeats / "rank-00001.json"
        beat = json.loads(path.read_text()) | {"state": "failed", "reason": evil, "node": evil}
        path.write_text(json.dumps(beat))
    else:
        path = run.attempts / "001.json"
        record = json.loads(path.read_text())
        record["next"]["why"] = record["ending"]["reason"] = record["nodes"][0] = evil
        path.write_text(json.dumps(record))
    found = explained(folder, run)
    out = io.StringIO()
    show_explanation(found, Console(file=out, width=200))
    text = out.getvalue() + json.dumps(found.to_json(), ensure_ascii=False)
    assert all(char.isprintable() or char == "\n" for char in text), repr(text)


def test_explanations_fit_the_terminal(explained):
    for folder in FAILURES:
        out = io.StringIO()
        show_explanation(explained(folder), Console(file=out, width=60, force_terminal=True))
        plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
        assert max(map(len, plain.splitlines())) <= 60


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=40)
@given(data=st.data())
def test_a_damaged_run_directory_gives_one_line_or_an_explanation(data, tmp_path_factory):
    """RD-235: any value in any file may be damaged."""
    folder = data.draw(st.sampled_from([f for f in FAILURES if (f / "r-1" / "heartbeat").is_dir()]))
    run = RunDirectory(tmp_path_factory.mktemp("damaged") / "r-1")
    shutil.copytree(folder / "r-1", run.path)
    files = [*run.heartbeats.glob("*.json"), *run.ledger.glob("*.jsonl")]
    files = sorted([*files, *run.attempts.glob("*.json")])
    path = data.draw(st.sampled_from(files))
    text = path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [json.dumps(json.loads(text))]
    index = data.draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[index])
    for key in data.draw(st.lists(st.sampled_from(sorted(record)), max_size=2)):
        record[key] = data.draw(JUNK)
    lines[index] = json.dumps(data.draw(JUNK) if data.draw(st.integers(0, 9)) == 0 else record)
    path.write_text("\n".join(lines) + "\n")
    try:
        verdict = judge(gather(run, None, None))
    except UserError:
        return  # one line, from a place that knows the file
    assert verdict.cause.name in BY_NAME
    assert all(line.text.isprintable() for line in verdict.lines)


@pytest.mark.parametrize(
    "change",
    [{"number": 7}, {"job_id": 3}, {"ended_at": "x"}, {"exit_code": []}, {"nodes": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_damaged_record_of_an_attempt_is_named(explained, copy_of, change):
    """RD-235"""
    folder, run = copy_of("nan_loss")
    path = run.attempts / "001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (field,) = change
    with pytest.raises(UserError, match=rf"001\.json: (end\.)?{field}.*: .*, found .*; damaged"):
        explained(folder, run)


def test_an_attempt_that_is_not_there_is_refused(explained, copy_of):
    folder, run = copy_of("nan_loss")
    with pytest.raises(UserError, match="--attempt 4: r-1 has no such attempt; known: 1"):
        explained(folder, run, attempt=4)


@given(text=st.text() | st.text(alphabet="\x1b[]0;m\x07\r\nA", max_size=2000))
def test_cleaned_text_is_one_printable_line(text):
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert len(cleaned) <= 300
    assert clean(cleaned) == cleaned


def test_of_a_huge_log_both_ends_are_read_with_their_numbers(tmp_path):
    """RD-235"""
    path = tmp_path / "big.log"
    count = (HEAD_BYTES + TAIL_BYTES) // 8
    path.write_text("".join(f"{number:011d}\n" for number in range(1, count + 1)))
    log = read_log(tmp_path, path)
    assert sum(len(line.text) for line in log.lines) <= HEAD_BYTES + TAIL_BYTES
    assert {int(line.text) for line in log.lines if line.text} >= {1, count}
    assert all(int(line.text) == line.number for line in log.lines if line.text)


def test_of_an_enormous_log_the_end_has_no_numbers_and_is_not_counted(tmp_path):
    path = tmp_path / "enormous.log"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.seek(2**31)
        file.write(b"\nlast\n")
    log = read_log(tmp_path, path)
    assert (log.lines[0].text, log.lines[0].number) == ("first", 1)
    assert [(line.number, line.where) for line in log.lines if line.text == "last"] == [
        (None, "enormous.log")
    ]


@given(
    kinds=st.lists(st.sampled_from(["ends", "taken"]), min_size=1, max_size=5),
    noise=st.integers(0, 2),
)
def test_each_attempt_of_a_job_has_its_own_lines(kinds, noise):
    """RD-231"""
    lines, owners = [], []
    for number, kind in enumerate(kinds, start=1):
        said = [f"noise {number}"] * noise
        last = number == len(kinds)
        if kind == "taken":
            said.append("slurmstepd: error: *** JOB 1 ON a CANCELLED AT t DUE TO JOB REQUEUE ***")
        if kind == "ends" or last:
            said.append(f"attempt {number}: why")
        for text in said:
            lines.append(Line("batch-1.log", len(lines) + 1, text))
            owners.append(number)
    starts = range(1, len(kinds) + 1)
    for number in starts:
        own = [line for line, owner in zip(lines, owners, strict=True) if owner == number]
        assert of_slurm(lines, number, starts) == own


def test_the_output_of_sacct_is_read(monkeypatch):
    text = "12|CANCELLED by 0|0:0|node[1-2]|None\n12.0|OUT_OF_MEMORY|0:125|node1|\nbroken\n||||\n"
    job, step, _ = parse_sacct(text)
    assert (job.state, job.ended_by) == ("CANCELLED", "root")
    assert (step.job_id, step.state, step.ended_by) == ("12.0", "OUT_OF_MEMORY", None)
    assert parse_sacct("1|CANCELLED by 4294967200|0:0|a")[0].ended_by == "user 4294967200"
    monkeypatch.setenv("PATH", "/nowhere")
    assert accounted("12") == []
    assert accounted("12 --help") == []
