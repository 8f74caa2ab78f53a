"""Who differs from whom, as a line and as a table."""

from ptycho_dist.differences import as_table, differing, in_words, numbers

OF_RANKS = [{"torch": "2.13", "N": "64"}, {"torch": "2.12", "N": "64"}, {"torch": "2.13"}]
FOUND = {"N": [([2], None), ([0, 1], "64")], "torch": [([1], "2.12"), ([0, 2], "2.13")]}


def shown(value):
    return "nothing" if value is None else value


def test_groups_come_by_key_the_fewest_ranks_first():
    assert differing(OF_RANKS) == FOUND
    assert differing([{"N": "64"}] * 3) == {}


def test_a_key_in_one_line_with_the_node_of_a_rank_that_is_alone():
    assert (
        in_words("torch", FOUND["torch"], shown) == "torch: rank 1 has 2.12, ranks 0, 2 have 2.13"
    )
    named = in_words("N", FOUND["N"], shown, lambda rank: f"node{rank}")
    assert named == "N: rank 2 on node2 has nothing, ranks 0, 1 have 64"


def test_many_ranks_in_a_row_are_a_range():
    assert numbers([3]) == "3"
    assert numbers([0, 1, 2]) == "0, 1, 2"
    assert numbers([0, 2, 5, 6, 7, 8, 10]) == "0, 2, 5-8, 10"
    assert numbers(range(1000)) == "0-999"


def test_all_of_it_in_a_table():
    lines = as_table(FOUND, shown, lambda rank: f"node{rank // 2}").splitlines()
    assert [line.split() for line in lines] == [
        ["what", "value", "ranks", "nodes"],
        ["N", "nothing", "2", "node1"],
        ["64", "0,", "1", "node0"],
        ["torch", "2.12", "1", "node0"],
        ["2.13", "0,", "2", "node0,", "node1"],
    ]
