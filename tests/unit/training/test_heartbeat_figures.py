"""The figures in heartbeats from which the end is predicted and stragglers are found."""

from lightning.pytorch import Callback

from launcher.status.eta import training_ends_at
from launcher.status.stragglers import stragglers
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.runtime import rank_heartbeat as heartbeat_room
from ptycho_dist.training.module import PtychoModule

TEXT = "model: {n_filters_scale: 0.125}\ntraining: {nepochs: 2, batch_size: 4}\n"


def test_own_work_is_what_comes_before_the_backward_pass(fit, monkeypatch):
    """RD-205, RD-206: the clock advances by 3 s in a forward pass and by 5 s after it."""

    class Clock:
        now = 1000.0

        @classmethod
        def monotonic(cls):
            return cls.now

    class Backward(Callback):
        def on_after_backward(self, trainer, pl_module):
            Clock.now += 5

    forward = PtychoModule.training_step

    def slow(self, *batch):
        Clock.now += 3
        return forward(self, *batch)

    monkeypatch.setattr(heartbeat_room, "time", Clock)
    monkeypatch.setattr(PtychoModule, "training_step", slow)
    fit(TEXT, Backward())
    (beat,) = read_heartbeats(fit.last_run).values()
    progress = beat.progress
    assert (progress["own_s"], progress["batch_s"]) == (3.0, 8.0)
    assert (progress["began_step"], progress["epoch_step"], progress["step"]) == (0, 20, 20)
    assert progress["began_at"] < progress["epoch_at"] <= beat.updated_at
    assert training_ends_at(progress, beat.updated_at) == beat.updated_at
    assert stragglers([beat]) == {}
