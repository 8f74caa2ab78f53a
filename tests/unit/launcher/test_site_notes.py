"""Notes of `plan` on a site that does not requeue, or preempts without warning (RS-022)."""

import json
import stat

import pytest

PARTITIONS = """\
PartitionName=debug AllowGroups=ALL Default=YES GraceTime=0 PreemptMode=OFF State=UP
PartitionName=spot AllowGroups=ALL Default=NO GraceTime={grace} PreemptMode={mode} State=UP
"""
SCONTROL = """#!/bin/sh
case "$*" in
"show config") cat <<'END'
Configuration data as of 2026-11-24T12:00:00
JobRequeue              = {requeue}
PreemptMode             = OFF
PreemptType             = {kind}
END
;;
"--all --oneliner show partition") cat <<'END'
{partitions}END
;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def notes(make_config, launch, tmp_path):
    """`notes(overrides, …)`: the notes of `plan --json` on a site with these settings."""

    def plan(*overrides, requeue=1, grace=0, mode="REQUEUE", kind="preempt/partition_prio"):
        commands = tmp_path / "bin"
        commands.mkdir(exist_ok=True)
        scontrol = commands / "scontrol"
        partitions = PARTITIONS.format(grace=grace, mode=mode)
        scontrol.write_text(SCONTROL.format(requeue=requeue, partitions=partitions, kind=kind))
        scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
        sets = [word for text in overrides for word in ("--set", text)]
        done = launch(
            "plan", make_config(), *sets, "--json", env={"PATH": f"{commands}:/usr/bin:/bin"}
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["notes"]

    return plan


def test_a_site_that_does_not_requeue_by_default(notes):
    (note,) = notes(requeue=0)
    assert "JobRequeue=0" in note
    assert "ptycho-launch resume" in note
    assert notes(requeue=0, mode="OFF") == [note]
    assert notes("requeue.on=[]", requeue=0) == []


@pytest.mark.parametrize("mode", ["REQUEUE", "CANCEL"])
def test_a_partition_that_preempts_without_warning(notes, mode):
    (note,) = notes("resources.partition=spot", mode=mode)
    assert f"GraceTime=0 in partition spot (PreemptMode={mode})" in note
    assert "checkpoint_every_s" in note


def test_nothing_to_say(notes):
    assert notes() == []  # the default partition preempts nobody
    assert notes("resources.partition=spot", grace=120) == []
    assert notes("resources.partition=spot", mode="OFF") == []
    assert notes("resources.partition=spot", kind="preempt/none") == []
    assert notes("resources.partition=spot", mode="SUSPEND,GANG") == []
