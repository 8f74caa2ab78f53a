"""The world-size contract as a pure function (specs/launch_plan.md LP-010 to LP-016)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.config.contradictions import DataFacts, contradictions
from ptycho_dist.config.plain_data import decode_run_config
from ptycho_dist.config.world import World, world_of
from ptycho_dist.data.order import micro_batches, samples_of_step


def config(**sections):
    data = {"name": "a", "data": {"train_data_file": "x.npz"}, **sections}
    return decode_run_config(data, "test")


@pytest.mark.effect("execution.devices", "execution.num_nodes")
def test_devices_and_nodes_of_the_execution_config():
    """LP-010, EC-011: they stand in where resources say nothing, and must agree where they do."""

    def contradicting(execution, resources):
        asked = config(execution=execution, resources=resources)
        found = contradictions(asked, world_of(asked, 99), DataFacts(99, 64), None)
        return {fault.path for fault in found}

    execution = {"devices": 2, "num_nodes": 3}
    world = world_of(config(execution=execution), 99)
    assert (world.nodes, world.tasks_per_node, world.ranks) == (3, 2, 6)
    assert contradicting(execution, {}) == set()
    assert contradicting(execution, {"nodes": 3, "tasks_per_node": 2}) == set()
    assert contradicting(execution, {"nodes": 4, "tasks_per_node": 1}) == {
        "execution.devices",
        "execution.num_nodes",
    }
    auto = {"devices": "auto", "num_nodes": "auto"}
    assert world_of(config(execution=auto), 99).ranks == 1
    assert contradicting(auto, {"nodes": 4, "tasks_per_node": 2}) == set()


def test_tasks_per_node_default_to_gpus_else_one():
    assert world_of(config(), 10).ranks == 1
    assert world_of(config(resources={"nodes": 3, "gpus_per_node": 4}), 10).ranks == 12
    assert world_of(config(resources={"nodes": 3, "tasks_per_node": 2}), 10).ranks == 6


@given(
    nodes=st.integers(1, 6),
    tasks=st.integers(1, 6),
    batch=st.sampled_from([1, 2, 4, 8, 16]),
    accum=st.integers(1, 5),
    epochs=st.integers(1, 4),
    samples=st.integers(36, 500),
)
def test_the_numbers_are_those_that_the_sample_order_gives(
    nodes, tasks, batch, accum, epochs, samples
):
    world = world_of(
        config(
            resources={"nodes": nodes, "tasks_per_node": tasks},
            training={"batch_size": batch, "nepochs": epochs},
            execution={"accum_steps": accum},
        ),
        samples,
    )
    assert world.ranks == nodes * tasks
    assert world.devices_per_node == world.tasks_per_node == tasks
    assert world.global_batch == batch * accum * world.ranks
    windows = list(micro_batches(samples, batch_size=batch, ranks=world.ranks))
    assert world.micro_batches_per_epoch == len(windows)
    steps = {j // accum for j in range(len(windows))}
    assert world.steps_per_epoch == len(steps) == math.ceil(samples / world.global_batch)
    assert world.total_steps == epochs * world.steps_per_epoch
    in_steps = [
        samples_of_step(
            samples, batch_size=batch, ranks=world.ranks, accum_steps=accum, micro_batch=s * accum
        )
        for s in steps
    ]
    assert sum(in_steps) == samples
    assert World(**world.to_json()) == world


def test_n_groups_are_the_samples():
    sections = {"data": {"train_data_file": "x", "n_groups": 7}}
    assert world_of(decode_run_config({"name": "a", **sections}, "t"), 100).samples == 7


@pytest.mark.parametrize("field", ["probe_trainable", "intensity_scale_trainable"])
def test_labels_alone_teach_nothing_of_the_illumination(field):
    """DATA-097: DDP would wait for a parameter that has no gradient."""

    def faults(**training):
        asked = config(
            model={"model_type": "supervised"},
            training={"realspace_weight": 1.0, field: True, **training},
        )
        facts = DataFacts(99, 64, has_labels=True)
        return {fault.path for fault in contradictions(asked, world_of(asked, 99), facts, None)}

    assert faults(nll_weight=0.0) == {f"training.{field}"}
    assert faults(nll_weight=0.5) == set()
    assert faults(nll_weight=0.0, mae_weight=0.5) == set()
