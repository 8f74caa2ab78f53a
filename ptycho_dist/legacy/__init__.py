"""The legacy globals, and the scope that keeps them equal to the config. Torch-free.

`params` stands in for PtychoPINN's parameter module; `LegacyScope` fills it from the canonical
config and seals it (specs/legacy_isolation.md).
"""

from ptycho_dist.legacy import params
from ptycho_dist.legacy.agreement import require_same_on_all_ranks
from ptycho_dist.legacy.bridge import dataclass_to_legacy_dict, update_legacy_dict
from ptycho_dist.legacy.errors import (
    ExecutionConfigRefused,
    LegacyError,
    LegacyMismatch,
    LegacySealed,
)
from ptycho_dist.legacy.scope import LegacyScope

__all__ = [
    "ExecutionConfigRefused",
    "LegacyError",
    "LegacyMismatch",
    "LegacyScope",
    "LegacySealed",
    "dataclass_to_legacy_dict",
    "params",
    "require_same_on_all_ranks",
    "update_legacy_dict",
]
