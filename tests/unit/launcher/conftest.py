"""Run directories as launcher, script and ranks leave them, and SLURM's commands as one wants."""

import shutil
import stat

import pytest

from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.heartbeat import Heartbeat, write_heartbeat
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan


class PretendedRun:
    """A run directory, and what its writers would write."""

    def __init__(self, run):
        self.run = run

    def submitted(self, job_id="7", cluster="slurm", at=1000.0):
        known = self.run.submission_json
        jobs = read_json(known)["jobs"] if known.exists() else []
        jobs.append({"job_id": job_id, "cluster": cluster, "submitted_at": at})
        write_json_atomic(known, {"format": 1, "jobs": jobs})

    def attempt(self, number=1, *, ended=None, restart=False, **values):
        """`ended`: (outcome, cause, reason)."""
        record = {
            "number": number, "token": "t", "host": "h", "port": 1, "ends_at": None,
            "job_id": "7", "cluster": "slurm", "nodes": ["n1"], "step": None, "signal_lead_s": 60,
            "cause": "submit" if number == 1 else "requeue", "started_at": 2000.0 + 100 * number,
            "ended_at": None, "exit_code": None, "outcome": None,
        }  # fmt: skip
        if ended is not None:
            outcome, cause, reason = ended
            record |= {
                "ended_at": record["started_at"] + 60, "exit_code": 1, "outcome": outcome,
                "ending": {
                    "outcome": outcome, "cause": cause, "reason": reason, "step": 9,
                    "committed_step": 8, "node": None,
                },
                "next": {"restart": restart, "why": "restart 1 of 10 after it"},
            }  # fmt: skip
        write_json_atomic(self.run.attempts / f"{number:03d}.json", record | values)

    def beat(self, rank=0, **values):
        beat = {"node": "n1", "pid": 2**22 + 1, "attempt": 1, "state": "training", **values}
        write_heartbeat(self.run, Heartbeat(rank=rank, **beat))

    def log(self, name, text):
        (self.run.logs / name).write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def pretend(make_config, tmp_path):
    """`pretend("a-1")`: a run of two ranks that nothing has happened to yet."""

    def make(name="tiny-20260101-000000-0001"):
        loaded = read_run_config(make_config("resources: {tasks_per_node: 2}")).sound()
        plan = RunPlan(
            world=world_of(loaded.config, 37),
            requeue={"on": ["timeout"], "max_restarts": 2},
        )
        run = prepare_run(tmp_path / "runs" / name, loaded, plan, "#!/bin/bash\n")
        return PretendedRun(run)

    return make


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """`commands(squeue="echo …")`: these are all of SLURM's commands that PATH has; returns a
    file with a line for each call."""
    folder, calls = tmp_path / "commands", tmp_path / "calls"
    folder.mkdir()
    calls.touch()
    for name in ("bash", "sleep", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))

    def replace(**texts):
        for name, text in texts.items():
            path = folder / name
            path.write_text(f'#!{shutil.which("bash")}\necho "{name} $*" >> {calls}\n{text}\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return calls

    return replace
