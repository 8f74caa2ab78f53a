"""`check` on a real cluster: what it finds, that it submits nothing, that nothing stays behind."""

import json

import pytest

pytestmark = pytest.mark.slurm


@pytest.fixture
def check(launch, make_config, tmp_path):
    """`check(cluster, override, …)`: exit code and report; squeue and files are as before."""
    config = make_config("resources: {nodes: 2}")

    def run(cluster, *overrides, env=None):
        queue = ["squeue", "--noheader", "--states=all", "--format=%i %T"]
        before = cluster.run(queue).stdout, sorted(tmp_path.rglob("*"))
        sets = [word for override in overrides for word in ("--set", override)]
        done = launch(
            "check", config, "--json", "--runs-dir", tmp_path / "runs", *sets,
            env={**cluster.env, "XDG_CACHE_HOME": str(cluster.dir / "cache"), **(env or {})},
        )  # fmt: skip
        assert (cluster.run(queue).stdout, sorted(tmp_path.rglob("*"))) == before
        assert not done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def errors(report):
    return {each["field"]: each for each in report["findings"] if each["level"] == "error"}


def test_a_run_that_would_start(cluster, check):
    """LP-200 to LP-202, LP-210: the clean environment of a submission, the start in local time."""
    # SBATCH_PARTITION would send the trial to a partition that is not there, SINFO_PARTITION hide
    # the nodes, and SLURM_TIME_FORMAT the start
    leaks = {"SBATCH_PARTITION": "nope", "SINFO_PARTITION": "nope", "SLURM_TIME_FORMAT": "relative"}
    code, report = check(cluster, "resources.gpus_per_node=2", env=leaks)
    assert code == 0, report
    assert report["format"] == 1
    assert report["passed"] is True
    assert report["cluster"].startswith("onehost")
    assert report["expected_start"] is not None
    assert {each["level"] for each in report["findings"]} == {"ok"}
    assert any("account" in e["message"] for e in report["findings"] if e["check"] == "accounting")


def test_everything_that_is_wrong_comes_at_once(cluster, check):
    """LP-201, LP-203."""
    code, report = check(
        cluster, "resources.partition=short", "resources.nodes=9", "resources.gpus_per_node=3",
        'resources.time="00:20:00"', "resources.account=nobody",
    )  # fmt: skip
    assert code == 2
    assert report["passed"] is False
    found = errors(report)
    assert "short has 4 nodes" in found["resources.nodes"]["message"]
    assert "at most 2 GPUs" in found["resources.gpus_per_node"]["message"]
    assert "short allows 00:10:00" in found["resources.time"]["message"]
    assert {each["origin"] for each in found.values()} == {"--set"}
    # this cluster enforces no accounts: a wrong one stands in nobody's way
    assert "resources.account" not in found


def test_a_drained_node_and_a_partition_that_is_not_there_without_accounting(
    cluster_without_accounting, check
):
    """LP-204, LP-208."""
    cluster = cluster_without_accounting
    node = ["scontrol", "update", "nodename=node4"]
    cluster.run([*node, "state=drain", "reason=disk broken"])
    try:
        code, report = check(cluster, "resources.nodes=4")
    finally:
        cluster.run([*node, "state=resume"])
    assert code == 0
    (warning,) = (each for each in report["findings"] if each["level"] == "warning")
    assert warning["field"] == "resources.nodes"
    assert "disk broken" in warning["message"]
    code, report = check(cluster, "resources.partition=shrt")
    assert code == 2
    assert "did you mean short?" in errors(report)["resources.partition"]["message"]
    accounting = [each for each in report["findings"] if each["check"] == "accounting"]
    assert [each["level"] for each in accounting] == ["ok"]
    assert "keeps no accounts" in accounting[0]["message"]


def test_a_person_reads_what_to_do_next(cluster_without_accounting, launch, make_config, tmp_path):
    """LP-201, LP-203: the line of run.yaml, and the next command; no SLURM, exit 3."""
    config = make_config("resources:\n  nodes: 9\n")
    line = config.read_text().splitlines().index("  nodes: 9") + 1
    env = cluster_without_accounting.env
    done = launch("check", config, env=env)
    assert done.returncode == 2
    assert f"resources.nodes (run.yaml:{line})" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"ptycho-launch check {config}")
    done = launch("check", config, "--set", "resources.nodes=1", env=env)
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert last.endswith(f"ptycho-launch submit {config} --set resources.nodes=1")
    nowhere = launch("check", config, env={"PATH": str(tmp_path)})
    assert nowhere.returncode == 3
    assert nowhere.stderr.count("\n") == 1
