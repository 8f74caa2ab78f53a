"""Which checkpoints are kept, whatever was saved, damaged or removed before."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.checkpoint.catalog import Checkpoint
from ptycho_dist.checkpoint.retention import Keep, LastCheckpoint, Seen, superfluous
from ptycho_dist.rundir.layout import RunDirectory


def must_stay(whole, keep):
    """Return newest, best and due ones of whole checkpoints (step, value, ended epoch)."""
    if keep.best == -1:
        return {step for step, _, _ in whole}
    newest = sorted(step for step, _, _ in whole)[-keep.newest :]
    sign = 1 if keep.mode == "min" else -1
    valued = sorted((sign * value, step) for step, value, _ in whole if value is not None)
    every = keep.every_n_epochs
    due = [step for step, _, epoch in whole if every and epoch and epoch % every == 0]
    return {*newest, *(step for _, step in valued[: keep.best]), *due}


keeps = st.builds(
    Keep,
    newest=st.integers(1, 3),
    best=st.integers(-1, 2),
    mode=st.sampled_from(["min", "max"]),
    every_n_epochs=st.none() | st.integers(1, 3),
)
values = st.none() | st.integers(-3, 3).map(float)


@given(
    keep=keeps,
    entries=st.lists(
        st.tuples(values, st.none() | st.integers(0, 9), st.sampled_from([True, False, None])),
        min_size=1,
        max_size=12,
    ),
)
def test_what_stays_is_what_was_asked_for(keep, entries):
    """RD-042: None stands for a checkpoint that the disk cannot read now."""
    known = [
        Seen(Checkpoint(Path(f"step-{step:08d}"), step), value, epoch)
        for step, (value, epoch, _) in enumerate(entries)
    ]
    states = {seen.checkpoint: state for seen, (_, _, state) in zip(known, entries, strict=True)}
    states[known[-1].checkpoint] = True  # committed just now
    gone = {found.step for found in superfluous(known, keep, states.__getitem__)}
    whole = [
        (seen.checkpoint.step, seen.value, seen.ended_epoch)
        for seen in known
        if states[seen.checkpoint]
    ]
    assert not gone & must_stay(whole, keep)
    assert len(known) - 1 not in gone
    if all(states.values()):
        assert gone == {step for step, _, _ in whole} - must_stay(whole, keep)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("save"), values, st.booleans()),
        st.tuples(st.sampled_from(["flip", "cut", "unlink", "remove"]), st.integers(0, 9)),
        st.tuples(st.just("resume")),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=60)
@given(keep=keeps, actions=actions)
def test_no_sequence_of_saves_damage_and_removals_ends_without_a_whole_one(
    run, make_store, keep, actions
):
    """RD-042, RD-043: the newest, best and due checkpoints are kept, unless they are damaged."""
    with tempfile.TemporaryDirectory(dir=run.path.parent) as folder:
        shutil.copytree(run.path, Path(folder) / "r-1")
        options = {
            "keep": keep.newest,
            "save_top_k": keep.best,
            "mode": keep.mode,
            "keep_every_n_epochs": keep.every_n_epochs,
        }
        store = make_store(RunDirectory(Path(folder) / "r-1"), keep=options, size=10)
        step = 0
        facts = {}
        for action, *arguments in actions:
            before = store.whole()
            if action == "save":
                step += 1
                value, ends = arguments
                facts[step] = (value, step if ends else None)
                store.save(step, value=value, ends_epoch=facts[step][1])
                known = [(s, *facts[s]) for s in {*before, step} if s <= step]
                assert {s for s in store.whole() if s <= step} == must_stay(known, keep)
            elif action == "resume":
                if facts and not before:
                    break  # all are damaged: the run stops (RD-044)
                step = max(before, default=0)
                store.begin()
            elif store.steps():
                chosen = store.steps()[arguments[0] % len(store.steps())]
                if action == "remove":
                    others = set(before) - {chosen}
                    if others:
                        store.remove(chosen)
                    else:
                        with pytest.raises(LastCheckpoint, match="no other checkpoint is whole"):
                            store.remove(chosen)
                    assert set(store.whole()) == (others or set(before))
                else:
                    damage(store, chosen, action)
                    assert set(before) - {chosen} <= set(store.whole())


def damage(store, step, action):
    checkpoint = store.at(step)
    if action == "unlink":
        checkpoint.manifest_path.unlink(missing_ok=True)
    elif action == "cut":
        checkpoint.state.write_bytes(b"")
    elif checkpoint.state.stat().st_size:
        store.flip(step)


def test_a_checkpoint_that_this_attempt_has_read_is_not_read_again(run, make_store, monkeypatch):
    """A save reads back what it has written, once, and no older checkpoint."""
    store = make_store(run)
    store.save(1)
    read = []
    damaged = Checkpoint.damage
    monkeypatch.setattr(Checkpoint, "damage", lambda c, **o: read.append(c.step) or damaged(c, **o))
    for step in (2, 3, 4):
        store.save(step)
    assert (store.steps(), read) == ([3, 4], [])
    store.flip(4)
    store.save(5)
    assert read == [4]
    assert store.steps() == [3, 4, 5]


@pytest.mark.parametrize(
    "options", [{"newest": 0}, {"best": -2}, {"every_n_epochs": 0}, {"every_n_epochs": -1}]
)
def test_numbers_that_would_keep_nothing_are_refused(options):
    with pytest.raises(ValueError, match="keeps no checkpoint"):
        Keep(**options)
