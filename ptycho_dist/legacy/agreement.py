"""Check that all ranks have the same legacy values; if not, name the key and the rank."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ptycho_dist.differences import differing, in_words
from ptycho_dist.errors import in_one_line
from ptycho_dist.legacy.digest import digest, listed, shown
from ptycho_dist.legacy.errors import LegacyError, LegacyMismatch
from ptycho_dist.legacy.scope import LegacyScope


def require_same_on_all_ranks(
    scope: LegacyScope, gather: Callable[[str], Sequence[str]], when: str = "at the start"
) -> None:
    """Compare the legacy values of all ranks; every rank calls this at the same place.

    As long as the ranks agree, each gathers only one short text, so the check is cheap enough for
    every epoch and every checkpoint. The values themselves are gathered only to name a difference.
    A rank that cannot state its values says so in the gather, so that the others do not wait.

    Args:
        scope: The open scope of this rank.
        gather: Returns the texts of all ranks, in rank order, given the text of this rank.
        when: When the check happens, for the message: `before epoch 3`.

    Raises:
        LegacyMismatch: The ranks differ. Every rank raises it with the same message, which names
            the keys, the ranks and the values.
        LegacyError: All ranks have the same values, but not those that the scope put in.
    """
    try:
        prints = {"(scope)": f"{scope.mode} {scope.address}", **scope.fingerprints()}
        statement = {"digest": digest(prints)}
    except Exception as error:  # whatever it is: the other ranks wait in the gather
        prints = {}
        statement = {"fault": in_one_line(error)}
    statements = [json.loads(text) for text in gather(json.dumps(statement))]
    faults = [
        f"rank {rank}: {said['fault']}" for rank, said in enumerate(statements) if "fault" in said
    ]
    if faults:
        raise LegacyMismatch(f"the legacy values are not those of the run {when}: {listed(faults)}")
    if any(said != statements[0] for said in statements):
        of_ranks = [json.loads(text) for text in gather(json.dumps(prints))]
        lines = [in_words(key, groups, shown) for key, groups in differing(of_ranks).items()]
        raise LegacyMismatch(f"the legacy values of the ranks differ {when}: {listed(lines)}")
    try:
        scope.check()
    except LegacyError as error:
        raise LegacyError(f"{when}, on all ranks: {error}") from None
