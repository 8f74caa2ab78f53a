"""Bad configs, and texts that could be commands, on a real SLURM."""

import json
import os
import shlex

import pytest
from bad_configs import bad_configs
from injections import OF_A_SHELL
from waiting import wait_for

from launcher.cli import build_parser, main
from ptycho_dist.rundir.layout import RunDirectory

pytestmark = pytest.mark.slurm

EVERY = 10
"""Each so manieth bad config; tests/unit/launcher/test_bad_configs.py tries all of them."""


def queue(cluster):
    """All jobs that SLURM knows, and the number of the next one."""
    config = cluster.run(["scontrol", "show", "config"]).stdout
    (following,) = [line for line in config.splitlines() if line.startswith("NEXT_JOB_ID")]
    return cluster.run(["squeue", "--noheader", "--states=all", "--format=%i"]).stdout, following


def test_bad_configs_reach_no_queue(cluster, scan_file, tmp_path, monkeypatch, capsys):
    """RC-120, guarantee G1"""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    parser = build_parser()
    monkeypatch.setattr("launcher.cli.build_parser", lambda: parser)
    before = queue(cluster)
    config, root = tmp_path / "run.yaml", tmp_path / "runs"
    complaints = []
    tried = bad_configs(scan_file)[::EVERY]
    assert len(tried) >= 150
    for bad in tried:
        config.write_text(bad.text())
        sets = [word for override in bad.overrides for word in ("--set", override)]
        code = main(["submit", str(config), "--cluster", "slurm", "--runs-dir", str(root), *sets])
        complaints += bad.complaints(config, code, *capsys.readouterr())
    assert not complaints, "\n".join(complaints[:20])
    assert not root.exists()
    assert queue(cluster) == before


def test_texts_that_could_be_commands_arrive_as_they_are(
    cluster, scan_file, launch, changed_script, tmp_path
):
    """RC-030, LP-047, guarantee G9: through sbatch, the batch script, srun and a rank."""
    work, seen = tmp_path / "work", tmp_path / "seen"
    work.mkdir()
    texts = {f"TEXT_{number}": text for number, text in enumerate(OF_A_SHELL)}
    data = tmp_path / "".join(OF_A_SHELL).replace("/", "")
    os.link(scan_file, data)
    config = tmp_path / "run.yaml"
    config.write_text(
        json.dumps(
            {
                "name": "tiny",
                "data": {"train_data_file": str(data)},
                "environment": {"env": texts},
                "requeue": {"on": []},
            }
        )
    )
    root = tmp_path / "runs; touch injected && x | y * [a] #SBATCH --exclusive"
    done = launch("script", config, "--runs-dir", root)
    assert done.returncode == 0, done.stderr
    (path,) = root.iterdir()
    dump = f"env -0 > {seen}; exit 3"
    script = changed_script(RunDirectory(path), rank=0, instead=dump)
    submit = f"cd {shlex.quote(str(work))} && exec sbatch --parsable {script}"
    job_id = cluster.run(["bash", "-c", submit]).stdout.strip()

    def failed():
        job = cluster.run(["scontrol", "--oneliner", "show", "job", job_id]).stdout
        return job if "JobState=FAILED" in job else ""

    job = wait_for(failed, "failed job")
    assert "OverSubscribe=OK" in job  # not exclusive
    variables = dict(each.split("=", 1) for each in seen.read_text().split("\0") if each)
    assert {name: variables[name] for name in texts} == texts
    assert list(work.iterdir()) == []
    (log,) = (path / "logs").glob("batch-*.log")
    assert "command not found" not in log.read_text()
    assert {each.name for each in tmp_path.iterdir()} == {
        "work", "seen", "run.yaml", "changed.sbatch", data.name, root.name, "cache",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["cluster", "cluster_without_accounting"])
def test_doctor_knows_this_slurm(kind, request, launch, tmp_path):
    """RC-124: with accounting, and as on a site that has none."""
    cluster = request.getfixturevalue(kind)
    done = launch("doctor", "--json", "--runs-dir", tmp_path, env=cluster.env)
    assert done.returncode == 0, done.stderr
    slurm = json.loads(done.stdout)["slurm"]
    assert slurm["controller"].endswith("UP")
    assert slurm["version"] in cluster.run(["sinfo", "--version"]).stdout
    assert slurm["settings"]["ProctrackType"] == "proctrack/linuxproc"
    assert int(slurm["settings"]["MaxArraySize"]) > 0
    assert slurm["partitions"][0].startswith("debug* up, ")
    assert (slurm["sacct"] == "answers") == (kind == "cluster")
