"""What DataLoader workers see of a LegacyScope; arguments: START_METHOD CASE. Prints JSON.

A program of its own, because spawned workers import the main module.
"""

from __future__ import annotations

import functools
import json
import sys
from types import ModuleType
from typing import Any

from torch.utils.data import DataLoader, Dataset, get_worker_info

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.legacy import LegacyError, LegacyScope, params
from ptycho_dist.legacy.digest import digest, fingerprints
from ptycho_dist.legacy.scope import COMPUTED_KEYS

FOREIGN = ModuleType("foreign_params")
FOREIGN.cfg = {"N": 128, "label": "as imported"}
sys.modules["foreign_params"] = FOREIGN


class Legacy(Dataset[dict[str, Any]]):
    """A legacy consumer: it reads the globals, and tries to write to them."""

    def __init__(self, cfg_of: str) -> None:
        self.cfg_of = cfg_of

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        cfg = vars(sys.modules[self.cfg_of])["cfg"]
        seen = {
            "worker": get_worker_info().id,
            "N": cfg["N"],
            "label": cfg.get("label"),
            "intensity_scale": cfg.get("intensity_scale"),
            "digest": digest(fingerprints(cfg, COMPUTED_KEYS)),
            "refused": "",
        }
        if cfg is params.cfg:
            try:
                cfg["N"] = 1
            except LegacyError as error:
                seen["refused"] = str(error)
        return seen


def as_they_come(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return batch


def tampered(worker: int, scope: LegacyScope) -> None:
    """The globals of worker 1 are changed past the seal before they are compared."""
    if worker == 1:
        dict.update(params.cfg, N=32)
    scope.worker_init(worker)


def main(method: str, case: str) -> None:
    """Cases: sealed, watched, tampered, closed."""
    if case == "watched":
        FOREIGN.cfg["label"] = "changed before"
    scope = LegacyScope(ModelConfig(N=64), module="foreign_params" if case == "watched" else None)
    cfg_of = scope.address.rpartition(".")[0]
    worker_init = functools.partial(tampered, scope=scope)

    def loader() -> DataLoader[dict[str, Any]]:
        return DataLoader(
            Legacy(cfg_of),
            num_workers=2,
            collate_fn=as_they_come,
            worker_init_fn=worker_init if case == "tampered" else scope.worker_init,
            multiprocessing_context=method,
        )

    try:
        if case == "closed":
            seen = list(loader())
        else:
            with scope:
                vars(sys.modules[cfg_of])["cfg"]["intensity_scale"] = 2.5
                seen = [sample for batch in loader() for sample in batch]
                print(json.dumps({"digest": scope.digest, "seen": seen}))
    except LegacyError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
