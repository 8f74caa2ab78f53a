"""How long before its end a run is told to stop (RS-020, RS-021)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.planning.earlier_runs import measured_before
from launcher.planning.plan import DataFacts, make_plan
from ptycho_dist.config.lead import Measured, needed_lead
from ptycho_dist.config.load import ConfigError, read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan

FACTS = DataFacts(n_patterns=37, N=64)


def plan(make_config, text, measured=None):
    return make_plan(read_run_config(make_config(text)).sound(), FACTS, None, measured=measured)


@given(step=st.floats(0, 1e4), checkpoint=st.floats(0, 1e4))
def test_the_lead_holds_two_steps_and_a_checkpoint_twice(step, checkpoint):
    assert needed_lead(Measured(step, checkpoint)) == math.ceil(4 * step + 2 * checkpoint) + 30


@pytest.mark.effect("requeue.signal_lead_s")
def test_auto_is_what_was_measured_and_a_number_is_that_number(make_config):
    assert plan(make_config, "").signal_lead_s == 120
    assert plan(make_config, "", Measured(2.0, 5.0)).signal_lead_s == 48
    fixed = "requeue: {signal_lead_s: 77}"
    assert plan(make_config, fixed, Measured(2.0, 5.0)).signal_lead_s == 77


def test_a_walltime_that_cannot_hold_it_is_refused_with_what_was_measured(make_config):
    ten = 'resources: {time: "10:00"}'
    assert plan(make_config, ten).walltime_s == 600
    with pytest.raises(ConfigError) as caught:
        plan(make_config, ten, Measured(40.0, 200.0))
    (fault,) = caught.value.faults
    assert fault.path == "resources.time"
    assert (
        "600 s is too short for 60 s of start-up and a requeue.signal_lead_s of 590 s"
        in fault.message
    )
    assert "steps took up to 40 s and checkpoints 200 s" in fault.message


def test_the_newest_run_of_the_name_with_such_steps_has_measured_it(make_config, tmp_path):
    root = tmp_path / "runs"

    def made(text, stamp, *times):
        loaded = read_run_config(make_config(text)).sound()
        record = RunPlan(world=world_of(loaded.config, 37))
        run = prepare_run(root / f"tiny-{stamp}", loaded, record, None)
        with LedgerWriter(run, 1, "rank-00000") as ledger:
            for step_s, seconds in times:
                ledger.append("checkpoint_committed", step=1, step_s=step_s, seconds=seconds)

    made("", "1", (0.5, 3.0), (0.7, 2.0))
    made("training: {batch_size: 32}", "2", (9.0, 9.0))
    made("", "3")  # has not come to a checkpoint
    config = read_run_config(make_config("")).sound().config
    assert measured_before(root, config) == Measured(0.7, 3.0)
    (root / "tiny-1" / "run.json").write_text("{")
    assert measured_before(root, config) is None
    assert measured_before(tmp_path / "nowhere", config) is None
