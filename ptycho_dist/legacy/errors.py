"""Errors about the legacy globals; each ends a run with a one-line message."""

from __future__ import annotations

from ptycho_dist.errors import RunError


class LegacyError(RunError):
    """The legacy globals are not, or would not be, what the config says."""


class LegacySealed(LegacyError, TypeError):
    """Code wrote to sealed legacy values; the message names its file and line."""


class ExecutionConfigRefused(LegacyError, TypeError):
    """The execution config, or one of its fields, was about to enter the globals (CONFIG-002)."""


class LegacyMismatch(LegacyError):
    """The ranks have different legacy values; the message names the key and the rank."""
