"""With `-n 2`: which tests go together, and in which order the two workers take them.

A worker takes one unit of work after another. The tests that need the shared SLURM cluster are one
unit, so that it is started once; every other file is a unit of its own, which keeps its fixtures
together. The long units come first and the many short ones last, so that both workers are busy to
the end.

This is a scheduler of our own because pytest-xdist 3.8 loses its groups with pytest 9.2: it marks
them in `_nodeid`, which pytest no longer reads, and `--dist loadgroup` then deals out test by test.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.scheduler import LoadScopeScheduling

FIRST = ("slurm", "ranks", "faults", "unit")
"""The folders of tests/, from the longest unit of work to the shortest."""
OWN_CLUSTERS = "test_cluster.py"
"""The file in tests/slurm whose tests start clusters of their own."""


class Units(LoadScopeScheduling):
    """Deals out units of work in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.partition("::")[0])
        shared = path.parent.name == "slurm" and path.name != OWN_CLUSTERS
        return "tests/slurm" if shared else str(path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Units:
    config.option.loadscopereorder = False
    return Units(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long units first."""

    def rank(item: pytest.Item) -> int:
        parts = PurePosixPath(item.nodeid.partition("::")[0]).parts
        return FIRST.index(parts[1]) if parts[1] in FIRST else len(FIRST)

    items.sort(key=rank)
