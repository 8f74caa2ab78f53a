"""How the ranks stage the data: one rank of each node copies the files to the node's disk.

The ranks exchange the progress through rank 0's store instead of a collective, because copying may
take far longer than a collective may. The guard names a rank whose copying makes no progress.
ptycho_dist.data.staging does the copying itself.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho_dist.attempts.attempt import holds_the_run
from ptycho_dist.config.run import RunConfig
from ptycho_dist.data.planned import planned_fingerprints
from ptycho_dist.data.staging import (
    WITHOUT,
    folder_of_run,
    place_on_this_node,
    remove_staged,
    stage_files,
)
from ptycho_dist.errors import RunError, UserError
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.joined_rank import JoinedRank

log = logging.getLogger(__name__)

POLL_S = 0.2
PUBLISH_EVERY_S = 1.0
"""Seconds between two signs of progress in the store."""
_DONE, _PROGRESS, _STOP, _FAILED = (
    f"staging/{name}" for name in ("done", "progress", "stop", "failed")
)


class _AskedToStop(Exception):
    """Some rank was asked to stop while a file was being copied."""


@contextmanager
def staged_data(
    run: RunDirectory, config: RunConfig, rank: JoinedRank
) -> Iterator[RunConfig | None]:
    """Copy the data files to this node if `data.stage_to` is set; all ranks call this together.

    Yields:
        The config, which names the data files as this node has them; None: some rank was asked to
        stop meanwhile, and all ranks know it.

    Raises:
        RunError: a node cannot hold the copies; on all ranks, with the same message.
    """
    place = config.data.stage_to
    if place is None:
        yield config
        return
    staging = _Staging(run, rank)
    try:
        copies = staging.of_all(config, place)
        yield None if copies is None else _reading_from(config, copies)
    finally:
        staging.leave()


def _reading_from(config: RunConfig, copies: dict[str, Path]) -> RunConfig:
    return replace(config, data=replace(config.data, **copies))  # type: ignore[arg-type]


class _Staging:
    """The part of one rank in the staging; the first rank of each node copies."""

    def __init__(self, run: RunDirectory, rank: JoinedRank) -> None:
        self._run = run
        self._rank = rank
        self._store = rank.joined.store
        nodes = rank.joined.nodes
        self._node = nodes[rank.rank]
        self._of_node = [number for number, node in enumerate(nodes) if node == self._node]
        self._copiers = len(set(nodes))
        self._key = f"staging/of/{self._of_node[0]}"
        self._published_at = time.monotonic()
        self._folder: Path | None = None

    def of_all(self, config: RunConfig, place: str) -> dict[str, Path] | None:
        """Return the copy for each field of `data`, once all nodes have theirs; None: all stop."""
        rank = self._rank
        rank.heartbeat.write("staging")
        rank.moved("copying the data to the node's disk")
        if rank.rank == self._of_node[0]:
            self._copy(config, place)
        rank.moved("waiting for the copies of all nodes")
        self._wait_for_all()
        copies = self._copies_of_this_node()
        stop = rank.stop.requested or self._store.check([_STOP])
        stop, failed = rank.agreement.vote(stop, self._store.check([_FAILED])).result()
        if failed:
            raise RunError(self._store.get(_FAILED).decode())
        return None if stop else copies

    def leave(self) -> None:
        """Note that this rank needs no copies any more; the last rank of a node removes them."""
        with suppress(RuntimeError, OSError):  # the store is gone if rank 0 has left
            left = self._store.add(f"{self._key}/left", 1)
            if left == len(self._of_node) and self._folder is not None:
                if not holds_the_run(self._run, self._rank.joined.attempt):
                    return  # a later attempt uses the copies
                remove_staged(self._folder)
                self._rank.ledger.append("staged_data_removed", node=self._node)

    def _copy(self, config: RunConfig, place: str) -> None:
        began = time.monotonic()
        data = config.data
        files = {"train_data_file": data.train_data_file, "test_data_file": data.test_data_file}
        try:
            folder = folder_of_run(place_on_this_node(place), self._run.path, self._node)
            staged = stage_files(
                {name: path for name, path in files.items() if path is not None},
                planned_fingerprints(config),
                folder,
                self._between,
            )
        except _AskedToStop:
            return
        except (RunError, UserError) as error:
            self._fail(str(error))
            return
        for name in staged.damaged:
            log.warning("%s: the copy of an earlier attempt was damaged; it is copied again", name)
        self._rank.ledger.append(
            "data_staged",
            node=self._node,
            folder=str(folder),
            copied_bytes=staged.copied_bytes,
            reused_bytes=staged.reused_bytes,
            damaged=staged.damaged,
            seconds=round(time.monotonic() - began, 3),
        )
        copies = {name: str(path) for name, path in staged.files.items()}
        self._store.set(self._key, json.dumps({"folder": str(folder), "copies": copies}))
        self._store.add(_DONE, 1)

    def _between(self) -> None:
        """Publish the progress between two chunks, and end the copying if it is to stop."""
        now = time.monotonic()
        if now - self._published_at < PUBLISH_EVERY_S:
            return
        self._published_at = now
        self._rank.alive()
        self._store.add(_PROGRESS, 1)
        if self._rank.stop.requested:
            self._store.set(_STOP, "1")
        if self._store.check([_STOP]) or self._store.check([_FAILED]):
            raise _AskedToStop

    def _wait_for_all(self) -> None:
        seen = -1
        while self._store.add(_DONE, 0) < self._copiers:
            if self._rank.stop.requested:
                self._store.set(_STOP, "1")
            if self._store.check([_STOP]) or self._store.check([_FAILED]):
                return
            progress = self._store.add(_PROGRESS, 0)
            if progress != seen:
                seen = progress
                self._rank.alive()
            time.sleep(POLL_S)

    def _copies_of_this_node(self) -> dict[str, Path]:
        if not self._store.check([self._key]):
            return {}
        staged: dict[str, Any] = json.loads(self._store.get(self._key))
        self._folder = Path(staged["folder"])
        copies = {name: Path(path) for name, path in staged["copies"].items()}
        hidden = [path for path in copies.values() if not path.is_file()]
        if hidden:
            self._fail(
                f"data.stage_to: rank {self._rank.rank} does not see {hidden[0]}, which rank "
                f"{self._of_node[0]} of the same node has copied: all ranks of a node must see the "
                f"same directory; choose another, or {WITHOUT}"
            )
        return copies

    def _fail(self, reason: str) -> None:
        self._store.set(_FAILED, f"node {self._node}: {reason}"[:2000])
