"""POLICY-001: without torch nothing can be done, and the reason must reach a person."""

from __future__ import annotations

import re
import sys

from ptycho_dist.errors import UserError

LEAST = (2, 2)


class MissingTorch(UserError, RuntimeError):
    """torch is not there, cannot be imported, or is too old."""


def require_torch() -> None:
    """Import torch.

    Raises:
        MissingTorch: with what to install, and where.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _missing(f"cannot be imported by {sys.executable}: {reason}") from None
    version = getattr(torch, "__version__", None)
    if version is None:  # a folder of that name, without a package in it, imports too
        raise _missing(f"as {sys.executable} finds it is no package: {list(torch.__path__)}")
    numbers = re.findall(r"\d+", str(version))[:2]
    if tuple(map(int, numbers)) < LEAST:
        raise _missing(f"is {version}, which is too old")


def _missing(what: str) -> MissingTorch:
    least = ".".join(map(str, LEAST))
    return MissingTorch(
        f"POLICY-001: torch {what}; install it in the ranks' environment: "
        f"pip install 'torch>={least}' (or the build of your site: https://pytorch.org)"
    )
