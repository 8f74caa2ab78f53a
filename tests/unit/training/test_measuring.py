"""When a run that only measures ends, on one rank in this process."""

import pytest

from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.ledger import read_ledger
from ptycho_dist.rundir.step_times import read_step_times

TEXT = "model: {n_filters_scale: 0.125}\ntraining: {nepochs: 2, batch_size: 4}\n"
DATA = "n_groups: 12"
PER_EPOCH = 3


def measure(until, value, warm_up=2):
    return {"until": until, "value": value, "warm_up_steps": warm_up}


def test_steps_that_end_within_an_epoch_and_a_death_before_the_result(fit):
    """SC-032, SC-033, SC-035: the resumed attempt finds enough measured, and does no more steps."""
    fit(TEXT, data=DATA, measurement=measure("steps", 2))
    run = fit.last_run
    assert fit.outcome == "finished"
    result = read_json(run.result_json)
    assert (result["steps"], result["last_epoch"]["epoch"]) == (4, 0)
    assert (result["measured"]["reached"], result["measured"]["steps"]) == (True, 2)
    assert verify(run).proven
    run.result_json.unlink()
    fit(TEXT, resume=run)
    assert fit.outcome == "finished"
    result = read_json(run.result_json)
    assert (result["steps"], result["measured"]["reached"]) == (4, True)
    assert (result["measured"]["steps"], result["measured"]["seconds"]) == (0, None)
    assert read_step_times(run, 2)[0].blocks == ()
    assert verify(run).proven


@pytest.mark.parametrize("steps", [PER_EPOCH - 2, 1000])
def test_at_the_end_of_an_epoch_it_ends_there_and_with_the_last_one_at_the_latest(fit, steps):
    """SC-032, SC-033"""
    fit(TEXT, data=DATA, measurement=measure("steps", steps))
    result = read_json(fit.last_run.result_json)
    reached = steps < 1000
    assert (result["measured"]["reached"], result["steps"]) == (
        (True, PER_EPOCH) if reached else (False, 2 * PER_EPOCH)
    )
    assert newest_whole(fit.last_run)[0].step == result["steps"]
    events = [event["event"] for event in read_ledger(fit.last_run)]
    assert events.count("checkpoint_committed") == (1 if reached else 2)


@pytest.mark.parametrize("batch", [4, 16])
def test_seconds_count_from_the_end_of_the_warm_up(fit, batch):
    """SC-032: also if an epoch has only one step."""
    text = TEXT.replace("batch_size: 4", f"batch_size: {batch}")
    fit(text, data=DATA, measurement=measure("seconds", 1e-6, warm_up=1))
    result = read_json(fit.last_run.result_json)
    assert (result["measured"]["reached"], result["steps"]) == (True, 1)
    assert verify(fit.last_run).proven


@pytest.mark.parametrize(("target", "epochs"), [(1e9, 1), (-1e9, 2)])
def test_the_target_loss_is_looked_at_when_an_epoch_ends(fit, target, epochs):
    """SC-032: it ends with its epochs at the latest."""
    fit(TEXT, data=DATA, measurement=measure("target_loss", target))
    result = read_json(fit.last_run.result_json)
    assert result["last_epoch"]["epoch"] == epochs - 1
    assert result["measured"]["reached"] == (epochs == 1)
    assert (result["measured"]["reached_at"] is None) == (epochs == 2)


def test_an_ordinary_run_records_no_measurement(fit):
    """SC-033"""
    fit(TEXT.replace("nepochs: 2", "nepochs: 1"), data=DATA)
    assert "measured" not in read_json(fit.last_run.result_json)
    blocks = read_step_times(fit.last_run, 1)[0].blocks
    assert [block.first_step for block in blocks] == list(range(PER_EPOCH))
    assert sum(block.samples for block in blocks) == 12
