"""POLICY-001: ranks need torch, and a user must learn why it cannot be used."""

from __future__ import annotations

import re
import sys

from ptycho_dist.errors import UserError, first_line

LEAST = (2, 2)


class MissingTorch(UserError, RuntimeError):
    """torch is not installed, cannot be imported, or is too old."""


def require_torch() -> None:
    """Import torch and check its version.

    Raises:
        MissingTorch: the message names what to install, and where.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise _missing(f"cannot be imported by {sys.executable}: {first_line(error)}") from None
    version = getattr(torch, "__version__", None)
    if version is None:  # a folder named torch that holds no package can be imported too
        raise _missing(f"as found by {sys.executable} is not a package: {list(torch.__path__)}")
    numbers = re.findall(r"\d+", str(version))[:2]
    if tuple(map(int, numbers)) < LEAST:
        raise _missing(f"is {version}, which is too old")


def _missing(what: str) -> MissingTorch:
    least = ".".join(map(str, LEAST))
    return MissingTorch(
        f"POLICY-001: torch {what}; install it in the ranks' environment: "
        f"pip install 'torch>={least}' (or the build of your site: https://pytorch.org)"
    )
