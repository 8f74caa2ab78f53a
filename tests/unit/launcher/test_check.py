"""`check` on clusters whose commands print the texts of captures/."""

import dataclasses
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.planning.plan import DataFacts, make_plan
from launcher.preflight.check import findings_of
from launcher.preflight.constraint import feature_names, satisfies
from launcher.preflight.findings import FieldPlaces, Finding
from launcher.preflight.storage import Storage, look_at_storage
from launcher.slurm import printed
from launcher.slurm.units import duration_s, duration_text
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.resources import memory_mb

CAPTURES = Path(__file__).parent / "captures"
NOW = datetime(2026, 11, 24, 16, 0, 0)
STARTS = "sbatch: Job 5 to start at 2026-11-24T16:00:01 using 2 processors on nodes node[1-2] in"
STORAGE = Storage(
    root=Path("/scratch/runs"),
    free_bytes=10**12,
    free_files=None,
    fault="",
    checkpoint_bytes=None,
    local={},
    python_exists=True,
)


def texts(site):
    """The output of the commands of a site: `""` (SLURM 22.05), `gpu_site_` (24.05) or `old_`."""
    names = ("config", "partitions", "nodes", "account", "qos", "user")
    found = {name: CAPTURES / f"{site}{name}.txt" for name in names}
    found["accounts"] = CAPTURES / f"{site}associations.txt"
    return {name: path.read_text("utf-8") for name, path in found.items() if path.exists()}


def facts_of(said, unknown=None, user="ada", groups=frozenset({"hpcusers"})):
    return printed.read_facts(said, unknown or {}, user=user, groups=groups, asked_at=NOW)


@pytest.fixture
def check(make_config):
    """`check(text of run.yaml, site, …)`: the findings, with errors first."""

    def run(text="", site="", *, sets=(), storage=STORAGE, elsewhere=False, replace=(), **said):
        loaded = read_run_config(make_config(text), sets).sound()
        plan = make_plan(loaded, DataFacts(n_patterns=10**6, N=64), None)
        unknown, user = said.pop("unknown", {}), {}
        for name in ("user_name", "groups"):
            if name in said:
                user[name.removesuffix("_name")] = said.pop(name)
        printed = {"trial": STARTS, **texts(site), **said}
        for what, old, new in replace:
            assert old in printed[what]
            printed[what] = printed[what].replace(old, new)
        printed = {what: text for what, text in printed.items() if what not in unknown}
        facts = facts_of(printed, unknown, **user)
        return findings_of(plan, loaded.config, facts, storage, FieldPlaces(loaded), elsewhere)

    return run


def levels(found, *wanted):
    """The findings of these levels, without the note on GPUs, which has a test of its own."""
    return [e for e in found if e.level in wanted and "no GPU is asked for" not in e.message]


def only(found, level):
    (each,) = levels(found, level)
    return each


REFUSED = "allocation failure: "
# on the cluster of slurm/cluster, as SLURM 22.05 refuses: what run.yaml says, what the trial says,
# the field at fault, words of the message
CASES = [
    (
        "{partition: shrt}",
        "sbatch: error: invalid partition specified: shrt\n"
        "allocation failure: Invalid partition name specified",
        "resources.partition",
        "did you mean short?; there are debug and short",
    ),
    (
        "{nodes: 9}",
        "allocation failure: More processors requested than permitted",
        "resources.nodes",
        "9 nodes, but debug has 4 nodes; set 4 or less",
    ),
    (
        '{time: "2-00:00:00"}',
        "allocation failure: Requested time limit is invalid (missing or exceeds some limit)",
        "resources.time",
        "2-00:00:00, but debug allows 1-00:00:00: it would be refused; set 1-00:00:00 or less",
    ),
    (
        '{partition: short, time: "00:20:00"}',
        "allocation failure: Requested time limit is invalid (missing or exceeds some limit)",
        "resources.time",
        "set 00:10:00 or less; the run then continues in further jobs (requeue.on), or use debug",
    ),
    (
        "{gpus_per_node: 3}",
        "allocation failure: Requested node configuration is not available",
        "resources.gpus_per_node",
        "3 GPUs per node, but the nodes of debug have at most 2 GPUs; set 2 or less",
    ),
    (
        "{mem_per_node: 100G}",
        "allocation failure: Requested node configuration is not available",
        "resources.mem_per_node",
        "the largest node of debug has 8000M; set 8000M or less",
    ),
    (
        "{tasks_per_node: 2, cpus_per_task: 3}",
        "allocation failure: Requested node configuration is not available",
        "resources.cpus_per_task",
        "2 × 3 = 6 CPUs per node (tasks_per_node × cpus_per_task), but the largest node of debug "
        "has 4; set 2 or less",
    ),
    (
        "{tasks_per_node: 5}",
        "allocation failure: More processors requested than permitted",
        "resources.tasks_per_node",
        "at most 4 ranks fit",
    ),
    (
        "{constraint: a100}",
        "allocation failure: Invalid feature specification",
        "resources.constraint",
        "no node of debug has the feature a100",
    ),
    (
        "{account: phy}",
        "allocation failure: Invalid account or account/partition combination specified",
        "resources.account",
        "you may not use phy; did you mean phys?; yours are phys, root and users",
    ),
    (
        "{qos: nothing}",
        "allocation failure: Invalid qos specification",
        "resources.qos",
        "there is no QOS nothing with account users; allowed are normal",
    ),
    (
        "{qos: long}",
        "allocation failure: Invalid qos specification",
        "resources.qos",
        "you may not use long with account users",
    ),
    (
        "{nodes: 4, account: phys, qos: long}",
        "sbatch: error: QOSMaxNodePerJobLimit\nallocation failure: Job violates accounting/QOS "
        "policy (job submit limit, user's size and/or time limits)",
        "resources.nodes",
        "4 nodes, but QOS long allows 2 nodes per job (MaxTRES)",
    ),
]


@pytest.mark.parametrize(("resources", "trial", "field", "words"), CASES)
def test_what_slurm_refuses_is_found_beforehand(check, resources, trial, field, words):
    """LP-203, LP-205: one error, with its field, what was found, the limit, and what to do."""
    found = check(f"resources: {resources}", trial=trial, user_name="root", groups=None)
    error = only(found, "error")
    assert error.field == field
    assert words in error.message
    assert any(each.check == "trial" and each.level == "note" for each in found)


def test_a_run_that_fits(check):
    found = check("resources: {nodes: 2, gpus_per_node: 2}", user_name="root", groups=None)
    assert {each.level for each in found} == {"ok"}
    assert {each.check for each in found} == {
        *("partition", "nodes", "walltime", "accounting", "trial", "storage", "environment"),
        "requeue",
    }
    assert any("expected start now on node[1-2]" in each.message for each in found)


def test_a_job_that_sbatch_accepts_and_never_starts(check):
    """LP-206: neither the trial nor sbatch refuses the job; SLURM 22.05 lets it wait for ever."""
    found = check('resources: {account: phys, time: "05:00:00"}', user_name="root", groups=None)
    error = only(found, "error")
    assert error.field == "resources.time"
    assert "your association with account phys allows 02:00:00 (MaxWall)" in error.message
    assert "set 02:00:00 or less" in error.message


def test_a_group_limit_stands_in_the_row_of_the_account(check):
    text = "resources: {nodes: 4, gpus_per_node: 2, account: phys}"
    error = only(check(text, user_name="root", groups=None), "error")
    assert "8 GPUs, but account phys allows 4 GPUs for all its jobs together" in error.message
    assert "with this much per node, set at most 2 nodes" in error.message


def test_limits_that_are_not_enforced_give_notes(check):
    """LP-206."""
    change = ("config", "= associations,limits,qos", "= none")
    text = 'resources: {account: phys, time: "05:00:00"}'
    found = check(text, user_name="root", groups=None, replace=[change])
    assert not levels(found, "error", "warning")
    note = only(found, "note")
    assert "MaxWall" in note.message
    assert note.message.endswith("this cluster does not enforce it")
    found = check("resources: {account: foo}", user_name="root", groups=None, replace=[change])
    assert "you may not use foo" in only(found, "note").message


def test_jobs_in_the_queue_count(check):
    text = "resources: {account: phys, qos: long}"
    queue = "RUNNING|phys|long\n" * 2 + "PENDING|phys|long\n"
    as_root = {"user_name": "root", "groups": None}
    assert not levels(check(text, **as_root, queue=queue.partition("\n")[0]), "error")
    error = only(check(text, **as_root, queue=queue), "error")
    assert "QOS long allows 3 jobs in the queue (MaxSubmit), and you have 3" in error.message


def test_nodes_that_are_down_make_the_run_wait(check):
    """LP-208: sbatch queues such a job, although the trial refuses it."""
    nodes = (
        "debug|1|drained|4|8000|gpu:2|(null)|node4|disk broken\n"
        "debug|3|idle|4|8000|gpu:2|(null)|node[1-3]|none\n"
    )
    trial = "allocation failure: Requested node configuration is not available"
    found = check("resources: {nodes: 4}", nodes=nodes, trial=trial, user_name="root", groups=None)
    assert not levels(found, "error")
    warning = only(found, "warning")
    assert "only 3 can be used now (node4 drained: disk broken)" in warning.message
    assert "with 3 it would not wait" in warning.message
    fine = check("resources: {nodes: 3}", nodes=nodes, user_name="root", groups=None)
    assert not levels(fine, "error", "warning")


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        ("DOWN", "warning", "would wait until it is up"),
        ("DRAIN", "error", "takes no new jobs"),
        ("INACTIVE", "error", "takes no new jobs"),
    ],
)
def test_partitions_that_are_not_up(check, state, level, words):
    change = ("partitions", "State=UP", f"State={state}")
    found = check("", user_name="root", groups=None, replace=[change])
    assert words in only(levels(found, "error", "warning"), level).message


def test_a_start_that_slurm_predicts_outranks_what_sinfo_shows(check):
    """LP-207: clouds create nodes on demand, so sinfo may not show all of them."""
    found = check("resources: {nodes: 9}", user_name="root", groups=None)
    assert not levels(found, "error")
    assert "SLURM says that the job would start" in only(found, "warning").message


def test_a_refusal_that_nothing_else_explains(check):
    trial = "sbatch: error: Batch job submission failed: Your project has no hours left\n"
    error = only(check("", trial=trial, user_name="root", groups=None), "error")
    assert error.check == "trial"
    assert "Your project has no hours left" in error.message
    trial = "allocation failure: Memory required by task is not available"
    error = only(check("", trial=trial, user_name="root", groups=None), "error")
    assert error.field == "resources.mem_per_node"
    trial = "allocation failure: Requested node configuration is not available"
    error = only(check("", trial=trial, user_name="root", groups=None), "error")
    assert "this combination of resources" in error.message


def test_a_start_in_the_future(check):
    trial = "sbatch: Job 4 to start at 2026-11-25T18:30:00 using 4 processors on node001"
    found = check("", trial=trial, user_name="root", groups=None)
    assert any("start 2026-11-25 18:30 (in 1-02:30:00) on node001" in e.message for e in found)


@pytest.mark.parametrize("start", ["N/A", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "now"])
def test_an_unknown_start(check, start):
    found = check("", trial=f"sbatch: Job 4 to start at {start} using 4 processors on node001")
    assert any("does not say when it would start" in each.message for each in found)


GPU_RUN = "partition: gpu, account: phys, gpus_per_node: 4, cpus_per_task: 8, mem_per_node: 400G"


def test_a_gpu_centre(check):
    found = check(f"resources: {{nodes: 2, {GPU_RUN}}}", "gpu_site_")
    assert not levels(found, "error", "warning")
    assert any("2 of 7 usable nodes in gpu" in each.message for each in found)
    assert "JobRequeue=0" in only(found, "note").message


@pytest.mark.parametrize(
    ("resources", "field", "words"),
    [
        # one that another partition would take
        (
            f"{GPU_RUN}, nodes: 2, time: '3-00:00:00'",
            "resources.time",
            "accepted but never started",
        ),
        (f"{GPU_RUN}, nodes: 9, constraint: a100", "resources.nodes", "gpu has 8 nodes that have"),
        (f"{GPU_RUN}, nodes: 9, constraint: a30", "resources.nodes", "ask for less per node"),
        (f"{GPU_RUN}, constraint: a101", "resources.constraint", "did you mean a100?"),
        (f"{GPU_RUN}, constraint: rack1", "resources.constraint", "nodes of standard have it"),
        (f"{GPU_RUN}, nodes: 5", "resources.gpus_per_node", "account phys allows 16 GPUs"),
        ("partition: gpu, mem_per_node: 600G", "resources.mem_per_node", "(MaxMemPerNode)"),
        ("partition: gpu, gpus_per_node: 8", "resources.gpus_per_node", "at most 4 GPUs (a100)"),
        ("gpus_per_node: 1", "resources.gpus_per_node", "standard has none; leave it out"),
        (f"{GPU_RUN}, gpu_type: h100", "resources.gpu_type", "h100, but gpu has a100"),
        ("nodes: 65", "resources.nodes", "a job in standard may have at most 64"),
        ("partition: spot, nodes: 1", "resources.nodes", "must have at least 2"),
        ("partition: spot, nodes: 2, cpus_per_task: 65", "resources.cpus_per_task", "64 per node"),
        ("partition: gpu, account: bio", "resources.account", "it is for chem or phys"),
        ("account: geo", "resources.account", "yours are bio and phys"),
        ("partition: spot, nodes: 2, account: bio", "resources.account", "only in standard"),
        ("nodes: 40, cpus_per_task: 128", "resources.cpus_per_task", "p_standard allows 4096 CPUs"),
        ('time: "1-12:00:00"', "resources.time", "QOS p_standard allows 1-00:00:00 (MaxWall)"),
        ("partition: gpu, qos: long", "resources.gpus_per_node", None),
        ("partition: staff", "resources.partition", "for root only"),
    ],
)
def test_refusals_of_a_gpu_centre(check, resources, field, words):
    refused = REFUSED + "Job violates accounting/QOS policy"
    account = "" if "account" in resources else "account: phys, "
    found = check(f"resources: {{{account}{resources}}}", "gpu_site_", trial=refused)
    errors = [each for each in levels(found, "error") if each.check != "trial"]
    if words is None:  # nothing asked for is not too little
        assert not errors
        return
    assert any(each.field == field and words in each.message for each in errors), errors


def test_other_partitions_are_named_only_where_the_run_would_fit(check):
    found = check(f"resources: {{{GPU_RUN}, nodes: 2, time: '3-00:00:00'}}", "gpu_site_")
    error = next(each for each in found if "never started" in each.message)
    assert error.message.endswith(", or use spot")
    found = check(
        f"resources: {{{GPU_RUN}, nodes: 2, time: '3-00:00:00'}}",
        "gpu_site_",
        groups=frozenset({"guests"}),
    )
    assert not any("or use" in each.message for each in found)


def test_a_partition_for_other_groups(check):
    text = "resources: {partition: spot, account: phys, nodes: 2}"
    found = check(text, "gpu_site_", groups=frozenset({"guests"}))
    error = only(levels(found, "error"), "error")
    assert "for the groups admins and hpcusers, and ada is in guests" in error.message
    assert not levels(check(text, "gpu_site_", user_name="root", groups=None), "error")


def test_a_qos_that_lifts_a_limit_of_the_partition(check):
    """LP-206: the flag PartitionTimeLimit; and the QOS counts before the association."""
    text = f"resources: {{{GPU_RUN}, nodes: 2, qos: long, time: '3-00:00:00'}}"
    assert not levels(check(text, "gpu_site_"), "error")


def test_one_of_several_partitions_is_enough_unless_all_must_do(check):
    text = "resources: {partition: 'standard,gpu', account: phys, gpus_per_node: 2}"
    found = check(text, "gpu_site_")
    assert "standard has none" in only(found, "warning").message
    all_must = ("config", "EnforcePartLimits       = NO", "EnforcePartLimits       = ALL")
    found = check(text, "gpu_site_", trial=REFUSED + "x", replace=[all_must])
    assert any("standard has none" in each.message for each in levels(found, "error"))


def test_memory_that_costs_more_cpus(check):
    found = check("resources: {account: phys, mem_per_node: 100G}", "gpu_site_")
    warning = only(found, "warning")
    assert warning.field == "resources.mem_per_node"
    assert "charge 52 CPUs; set 2000M or less" in warning.message


def test_nodes_with_gpus_that_the_run_does_not_ask_for(check):
    found = check("resources: {partition: gpu, account: phys}", "gpu_site_")
    assert any("4 GPUs (a100), and no GPU is asked for" in each.message for each in found)
    text = "resources: {partition: gpu, account: phys}\nexecution: {accelerator: cpu}"
    assert not any("no GPU is asked" in each.message for each in check(text, "gpu_site_"))


def test_a_preemption_that_comes_before_the_lead(check):
    text = "resources: {partition: spot, account: phys, nodes: 2}"
    notes = levels(check(text, "gpu_site_"), "note")
    assert any("60 s of warning (GraceTime), but the lead is 120 s" in e.message for e in notes)


def test_an_old_slurm(check):
    """LP-204: an old SLURM has no limits for which it has no columns or words."""
    text = 'resources: {account: phys, time: "1-06:00:00"}'
    found = check(text, "old_", nodes="batch|8|idle|16|64000|(null)|(null)|n[1-8]|none")
    assert "allows 1-00:00:00 (MaxWall)" in only(found, "error").message
    assert any("8 usable nodes in batch" in each.message for each in found)


def test_what_cannot_be_asked_is_not_checked_and_no_fault(check):
    """LP-204."""
    what = ("config", "partitions", "nodes", "accounts", "queue", "trial")
    unknown = {each: f"{each}: command is not on PATH" for each in what}
    found = check("resources: {nodes: 9, qos: foo}", unknown=unknown)
    assert not levels(found, "error", "warning")
    said = " ".join(each.message for each in levels(found, "note"))
    for each in ("config", "partitions", "accounts", "trial"):
        assert f"not checked: {unknown[each]}" in said
    found = check("", unknown={"nodes": "sinfo did not answer within 15 s"})
    assert "not checked: sinfo did not answer" in only(found, "note").message
    found = check("", trial="sbatch: error: Unable to contact slurm controller (connect failure)")
    assert "not checked: Unable to contact" in only(found, "note").message


def test_a_cluster_without_accounts(check):
    change = ("config", "accounting_storage/slurmdbd", "accounting_storage/none")
    unknown = {"accounts": "sacctmgr: exit code 1"}
    found = check("resources: {account: foo}", unknown=unknown, replace=[change])
    assert "foo has no effect here" in only(found, "note").message


def test_text_of_a_cluster_cannot_steer_the_terminal(check):
    """LP-211."""
    nodes = "debug|4|down|4|8000|gpu:2|(null)|node[1-4]|\x1b]0;owned\x07\u202e\n"
    trial = "sbatch: error: \x1b[2J no\n"
    found = check("", nodes=nodes, trial=trial, user_name="root", groups=None)
    assert all(each.message.isprintable() for each in found)
    assert any("owned" in each.message for each in found)


def test_where_a_field_is_written(make_config):
    """LP-203: the line of run.yaml, or the other origin of the value."""
    path = make_config("resources:\n  nodes: 2  # two\n  time: '01:00:00'\n")
    loaded = read_run_config(path, ["resources.time=02:00:00"]).sound()
    places = FieldPlaces(loaded)
    assert path.read_text().splitlines()[places.line("resources.nodes") - 1] == "  nodes: 2  # two"
    assert places.describe("resources.nodes") == f"run.yaml:{places.line('resources.nodes')}"
    assert places.describe("resources.time") == "from --set"
    assert places.describe("resources.qos") == "not set; add it to run.yaml"
    assert Finding("error", "nodes", "resources.nodes", "no").to_json(places) == {
        "level": "error",
        "check": "nodes",
        "field": "resources.nodes",
        "message": "no",
        "line": places.line("resources.nodes"),
        "origin": "run.yaml",
    }


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({"fault": "/scratch: Read-only file system"}, "error", "Read-only file system; choose"),
        ({"free_bytes": 10**9}, "warning", "only 0.9 GB free"),
        ({"free_files": 7}, "warning", "room for only 7 files more"),
        ({"checkpoint_bytes": 10**12}, "warning", "the checkpoints that are kept take about"),
        ({"python_exists": False}, "error", "does not exist here"),
    ],
)
def test_places_that_cannot_hold_a_run(check, changed, level, words):
    """LP-209."""
    storage = dataclasses.replace(STORAGE, **changed)
    found = check("", storage=storage, user_name="root", groups=None)
    assert words in only(levels(found, "error", "warning"), level).message


def test_places_that_the_nodes_do_not_see(check):
    """LP-209: only if the nodes are other machines."""
    storage = dataclasses.replace(STORAGE, local={STORAGE.root: "ext4"})
    as_root = {"user_name": "root", "groups": None}
    warning = only(check("", storage=storage, elsewhere=True, **as_root), "warning")
    assert "/scratch/runs (run directories) is on a disk of this machine (ext4)" in warning.message
    assert not levels(check("", storage=storage, **as_root), "warning")


def test_looking_leaves_nothing(make_config, tmp_path):
    """LP-200, LP-209."""
    loaded = read_run_config(make_config()).sound()
    plan = make_plan(loaded, DataFacts(n_patterns=37, N=64), None)
    checkpoint = tmp_path / "runs" / "tiny-1" / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.ckpt").write_bytes(b"x" * 1000)
    before = sorted(tmp_path.rglob("*"))
    seen = look_at_storage(plan, loaded.config, tmp_path / "runs")
    assert not seen.fault
    assert seen.checkpoint_bytes == 1000
    assert seen.python_exists
    assert seen.free_bytes > 0
    assert look_at_storage(plan, loaded.config, tmp_path / "new" / "runs").fault == ""
    assert sorted(tmp_path.rglob("*")) == before
    assert look_at_storage(plan, loaded.config, Path("/proc/runs")).fault


@pytest.mark.parametrize(
    ("constraint", "features", "expected"),
    [
        ("a100", {"a100"}, True),
        ("a100&nvlink", {"a100"}, False),
        ("a100|a30", {"a30"}, True),
        ("(a100|a30)&nvlink", {"a30"}, False),
        ("[rack1|rack2]", {"rack2"}, True),
        ("a100*2&a30*1", {"a30"}, True),
        ("a100&", {"a100"}, True),  # not to be read: left to SLURM
        ("(((", {"a100"}, False),
    ],
)
def test_constraints(constraint, features, expected):
    assert satisfies(frozenset(features), constraint) is expected
    assert feature_names("[a*2&b]|c&a") == ["a", "b", "c"]


@given(st.text(alphabet="ab&|()[]*2,", max_size=40))
def test_any_constraint_is_read(constraint):
    satisfies(frozenset({"a"}), constraint)


@given(st.integers(1, 10**9))
def test_times_are_read_as_they_are_written(seconds):
    assert duration_s(duration_text(seconds)) == seconds


@given(st.text(max_size=30))
def test_units_accept_any_text(text):
    duration_s(text)
    memory_mb(text)


GENUINE = {site: texts(site) for site in ("", "gpu_site_", "old_")}


@pytest.fixture
def planned(make_config):
    loaded = read_run_config(make_config(f"resources: {{nodes: 2, {GPU_RUN}, qos: long}}")).sound()
    return loaded, make_plan(loaded, DataFacts(n_patterns=10**6, N=64), None)


@given(data=st.data())
@settings(max_examples=60)
def test_damaged_output_of_commands_is_accepted(planned, data):
    """LP-204, LP-211: any output of the commands leads to facts and findings."""
    site = GENUINE[data.draw(st.sampled_from(sorted(GENUINE)))]
    said = {"queue": "RUNNING|a|b\n", "trial": STARTS, **site}
    for what in list(said):
        text = said[what]
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 40)))
        junk = data.draw(st.text(max_size=8) | st.sampled_from(["9" * 50, "|", "=", "\n", "\x1b"]))
        said[what] = text[:at] + junk + text[until:]
    facts = facts_of(said)
    for partition in facts.partitions:
        assert partition.max_time_s is None or partition.max_time_s > 0
        assert partition.min_nodes >= 0
    assert all(group.count >= 0 and group.gpus >= 0 for group in facts.nodes)
    loaded, plan = planned
    places = FieldPlaces(loaded)
    found = findings_of(plan, loaded.config, facts, STORAGE, places, False)
    assert {"trial", "storage", "environment"} <= {each.check for each in found}
    assert all(each.message.isprintable() for each in found)
