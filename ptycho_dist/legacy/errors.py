"""What goes wrong with the legacy globals; each ends a run in one line."""

from __future__ import annotations

from ptycho_dist.errors import RunError


class LegacyError(RunError):
    """The legacy globals are not, or would not be, what the config says."""


class LegacySealed(LegacyError, TypeError):
    """Somebody wrote to sealed legacy values; the message names the writer's file and line."""


class ExecutionConfigRefused(LegacyError, TypeError):
    """CONFIG-002: the execution config, or one of its fields, was on its way to the globals."""


class LegacyMismatch(LegacyError):
    """The ranks do not have the same legacy values; the message names key and rank."""
