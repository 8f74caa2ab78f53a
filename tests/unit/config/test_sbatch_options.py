"""Further options of sbatch: what would break the contract of a run is refused (RC-033)."""

import re

import pytest

from ptycho_dist.config.plain_data import decode_run_config
from ptycho_dist.config.sbatch_options import refusal
from ptycho_dist.errors import UserError


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("nodes", "4", "set by resources.nodes"),
        ("ntasks", "4", "the number of ranks follows from resources.nodes"),
        ("gpus-per-task", "1", "each rank must see all GPUs of its node"),
        ("output", "x.log", "logs go to the run directory"),
        ("export", "NONE", "environment.env"),
        ("array", "1-3", "`submit --array`"),
        ("dependency", "afterok:1", "`submit --after`"),
        ("gres", "gpu:4", "GPUs are requested by resources.gpus_per_node"),
        ("gres", "craynetwork:1,gpu:a100:4", "GPUs are requested by resources.gpus_per_node"),
        ("clusters", "other", "status, cancel and resume ask the cluster of this login node"),
    ],
)
def test_what_would_break_the_contract_is_refused(option, value, says):
    """RC-033"""
    data = {
        "name": "a",
        "data": {"train_data_file": "x"},
        "resources": {"sbatch_options": {option: value}},
    }
    with pytest.raises(UserError) as refused:
        decode_run_config(data, "run.yaml")
    assert str(refused.value).startswith("run.yaml: resources.sbatch_options: ")
    assert f"--{option}: " in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("short", "long"), [("nod", "nodes"), ("outp", "output"), ("arr", "array"), ("exp", "export")]
)
def test_abbreviations_count(short, long):
    """RC-033: sbatch takes `--nod=4` as `--nodes=4`."""
    assert refusal(short, "4").startswith(f"--{short}: sbatch reads this as --{long}; ")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("nodelist", "node[1-3]"),
        ("exclude", "node7"),
        ("licenses", "scratch:1"),
        ("gres", "craynetwork:0"),
        ("contiguous", ""),
        ("hint", "nomultithread"),
        ("switches", "1@00:30:00"),
        ("some-plugin", "x"),
    ],
)
def test_others_may_be_had(option, value):
    assert refusal(option, value) == ""


@pytest.mark.parametrize("value", ["a b", 'a"b', "a\n#SBATCH --exclusive", "$(touch x)", "`x`"])
def test_a_value_is_one_word(value):
    """RC-030"""
    data = {
        "name": "a",
        "data": {"train_data_file": "x"},
        "resources": {"sbatch_options": {"licenses": value}},
    }
    with pytest.raises(UserError, match=re.escape("resources.sbatch_options")):
        decode_run_config(data, "run.yaml")
