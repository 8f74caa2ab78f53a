"""All ranks have the same legacy values, or the job ends with the key and the rank that differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ptycho_dist.differences import differing, in_words
from ptycho_dist.legacy.digest import digest, listed, shown
from ptycho_dist.legacy.errors import LegacyError, LegacyMismatch
from ptycho_dist.legacy.scope import LegacyScope


def require_same_on_all_ranks(
    scope: LegacyScope, gather: Callable[[str], Sequence[str]], when: str = "at the start"
) -> None:
    """Compare the legacy values of all ranks. Every rank calls it at the same place.

    One short text per rank while all is well, so that it can stand before each epoch and each
    checkpoint; the values themselves are gathered only to name what differs. A rank that cannot
    state its values says so in the gather: it does not leave the others waiting.

    Args:
        scope: this rank's.
        gather: gives the texts of all ranks, in rank order, for the text of this one.
        when: for the message: `before epoch 3`.

    Raises:
        LegacyMismatch: on every rank, with the same message: which key, which rank, which value.
        LegacyError: the values are the same on all ranks, and not those that the scope put in.
    """
    try:
        prints = {"(scope)": f"{scope.mode} {scope.address}", **scope.fingerprints()}
        statement = {"digest": digest(prints)}
    except Exception as error:  # whatever it is: the other ranks wait in the gather
        prints = {}
        statement = {"fault": " ".join(str(error).split()) or type(error).__name__}
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
