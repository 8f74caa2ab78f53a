"""The step size as a function of the step and of the losses."""

import itertools
import math

import pytest

from ptycho_dist.training.schedule import Patience, Plateau, step_factor


def course(scheduler, steps_per_epoch=4, epochs=6):
    total = steps_per_epoch * epochs
    return [step_factor(scheduler, step, steps_per_epoch, epochs) for step in range(total)]


def test_default_is_constant():
    assert set(course("Default")) == {1.0}


def test_exponential_falls_by_the_epoch():
    factors = course("Exponential")
    assert factors == [0.95 ** (step // 4) for step in range(24)]


def test_multi_stage_has_three_thirds():
    assert course("MultiStage") == [1.0] * 8 + [0.3] * 8 + [0.1] * 8
    assert course("MultiStage", epochs=1) == [1.0] * 4


def test_warm_up_cosine_rises_then_falls_to_zero():
    factors = course("WarmupCosine", steps_per_epoch=50, epochs=4)
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(late < early for early, late in itertools.pairwise(factors[10:]))
    assert factors[105] == pytest.approx(0.5, abs=0.01)  # half way down
    assert 0 < factors[-1] < 1e-3
    assert step_factor("WarmupCosine", 200, 50, 4) == 0


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_value_that_is_no_number_is_never_the_best(mode):
    """EC-054: a validation loss may be NaN; as the first value too."""
    patience = Patience(2, mode)
    sign = 1 if mode == "min" else -1
    for value in (math.nan, sign * 5.0, math.nan, sign * 4.0):
        patience.watch(value)
        assert not patience.exhausted
    assert patience.best == sign * 4.0
    patience.watch(math.nan)
    patience.watch(math.nan)
    assert patience.exhausted


@pytest.mark.parametrize(
    ("scheduler", "times", "patience"), [("Adaptive", 0.5, 3), ("ReduceLROnPlateau", 0.1, 10)]
)
def test_a_plateau_lowers_the_factor_once_per_patience(scheduler, times, patience):
    plateau = Plateau(scheduler)
    assert not plateau.watch(2.0)
    assert not plateau.watch(1.0)
    lowered = [plateau.watch(1.0) for _ in range(2 * patience)]
    assert lowered == ([False] * (patience - 1) + [True]) * 2
    assert plateau.factor == pytest.approx(times**2)
    assert not plateau.watch(0.5)
    assert [plateau.watch(0.5) for _ in range(patience)][-1]


def test_other_schedules_do_not_watch():
    plateau = Plateau("WarmupCosine")
    assert not any(plateau.watch(1.0) for _ in range(50))
    assert plateau.factor == 1


def test_less_than_a_ten_thousandth_is_no_improvement():
    patience = Patience(2)
    patience.watch(1.0)
    patience.watch(1 - 0.5e-4)
    assert not patience.exhausted
    patience.watch(1 - 0.9e-4)
    assert patience.exhausted


def test_negative_losses_improve_downwards():
    patience = Patience(1)
    patience.watch(-1.0)
    patience.watch(-2.0)
    assert patience.best == -2
    assert not patience.exhausted


def test_the_state_goes_on_where_it_was():
    first, second = Plateau("Adaptive"), Plateau("Adaptive")
    losses = [3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9]
    for loss in losses[:5]:
        first.watch(loss)
    second.load_state_dict(first.state_dict())
    assert [first.watch(loss) for loss in losses[5:]] == [second.watch(loss) for loss in losses[5:]]
    assert first.factor == second.factor
    assert not math.isinf(second.state_dict()["best"])
