"""Finds the rank that failed first; the others fail some milliseconds later, because it is gone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from launcher.explain.causes import CAUSES
from launcher.explain.evidence import MOST_LOGS, SHORT_TAIL_BYTES, Evidence, RecordedReason
from launcher.explain.reading import Line

_LOST_A_PEER = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken pipe|failed to recv, got 0 bytes"
    r"|remote process exited or there was a network error|ncclRemoteError"
    r"|NCCL communicator was aborted|rank 0 left before it said|the store of rank 0 .*went away"
    r"|another rank cannot write its ledger|Socket Timeout|closed the connection"
)
"""Words of a rank that has only noticed that another one is gone."""
_NAMES = re.compile(
    r"^(?:\w+: )?(?:no progress for \d+ s: |the checkpoint of step .*: )?"
    r"(?:rank (\d{1,9})(?:: on | on \S+ did not join| on \S+ shows no sign| on \S+ is behind"
    r"| cannot write its ledger)|(rank 0) (?:did not open its store|and its store do not answer))"
)
"""Words of a rank that names another one, or repeats what that one has said."""
_ENDED_BY_SIGNAL = re.compile(
    r"(?:srun: error: (?P<node>\S+): tasks? (?P<tasks>\d[\d,-]*): "
    r"(?P<how>Killed|Out Of Memory|Segmentation fault|Bus error|Illegal instruction|Aborted"
    r"|Floating point exception)|^rank (?P<rank>\d{1,9}) was killed by (?P<signal>SIG\w+))"
)


@dataclass(frozen=True)
class FirstRank:
    """The rank that failed first."""

    rank: int
    node: str | None
    how: str
    """How it was found, in words."""
    followers: tuple[int, ...]
    """Ranks that failed only because this one was gone."""
    reason: RecordedReason | None = None
    """The reason that it recorded, or that another rank recorded about it."""
    together: tuple[int, ...] = ()
    """All ranks that recorded the same reason: they agreed to end together."""
    signal: Line | None = None
    """The line in which srun or the local cluster says that a signal ended it."""


def first_rank(evidence: Evidence) -> FirstRank | None:
    """The rank that failed first; None: no rank is known to have failed (RD-231).

    The first of these that exists:

    1. The rank that recorded a reason of its own, the earliest by its clock. If several recorded
       the same reason, they agreed on it, and the lowest of them counts.
    2. A rank that others name.
    3. A rank that joined and died without a word: one that a signal ended, as srun says, or else
       the one that was silent longest.
    4. The rank that was the first to notice that another one was gone.
    5. The rank whose log has the earliest line that tells of a failure.
    """
    followers = tuple(sorted({reason.rank for reason in evidence.reasons if _follows(reason)}))
    by_signal = _signalled(evidence)
    for reason in evidence.reasons:
        if not _follows(reason):
            return _first_to_speak(evidence, reason, followers)
    for reason in evidence.reasons:
        named = _named(reason)
        if named is not None:
            return _found(
                evidence,
                named,
                f"rank {reason.rank} named it",
                followers,
                reason,
                by_signal.get(named),
            )
    # A rank without a recorded end may still live. It is taken for dead only if others lost a peer,
    # or if a signal ended some rank.
    mute = [rank for rank, trace in evidence.ranks.items() if not trace.ended]
    for rank, line in by_signal.items():
        if rank in mute or not evidence.ranks:
            how = "a signal ended it"
            return _found(evidence, rank, how, followers, signal=line)
    if mute and (followers or by_signal):
        rank = min(mute, key=lambda each: (evidence.ranks[each].last_sign, each))
        return _found(evidence, rank, "it died without a word", followers)
    if evidence.reasons:
        reason = evidence.reasons[0]
        others = tuple(rank for rank in followers if rank != reason.rank)
        how = "it was the first to notice that another rank was gone"
        return _found(evidence, reason.rank, how, others, reason)
    return _by_logs(evidence)


def _first_to_speak(
    evidence: Evidence, reason: RecordedReason, followers: tuple[int, ...]
) -> FirstRank:
    same = {each.rank: each for each in evidence.reasons if each.text == reason.text}
    if len(same) == 1:
        how = "it was the first to record a reason"
        return _found(evidence, reason.rank, how, followers, reason)
    lowest = min(same)
    found = _found(evidence, lowest, "the ranks ended together", followers, same[lowest])
    return replace(found, together=tuple(sorted(same)))


def lost_a_peer(text: str) -> bool:
    """Whether a text only says that another rank is gone."""
    return _LOST_A_PEER.search(text) is not None


def tells_of_signal(text: str) -> bool:
    """Whether a text is a line of srun or the local cluster about ranks that a signal has ended."""
    return _ENDED_BY_SIGNAL.search(text) is not None


def _follows(reason: RecordedReason) -> bool:
    return _named(reason) is not None or lost_a_peer(reason.text)


def _named(reason: RecordedReason) -> int | None:
    match = _NAMES.match(reason.text)
    if match is None:
        return None
    rank = int(match[1]) if match[1] is not None else 0
    return None if rank == reason.rank else rank


def _found(
    evidence: Evidence,
    rank: int,
    how: str,
    followers: tuple[int, ...],
    reason: RecordedReason | None = None,
    signal: Line | None = None,
) -> FirstRank:
    trace = evidence.ranks.get(rank)
    node = trace.node if trace is not None else None
    ended = _ENDED_BY_SIGNAL.search(signal.text) if signal is not None else None
    if ended is not None:
        node = ended["node"] or node
    others = tuple(each for each in followers if each != rank)
    planned = _planned_node(evidence, rank)
    return FirstRank(rank, node or planned, how, others, reason, signal=signal)


def _planned_node(evidence: Evidence, rank: int) -> str | None:
    """The node by plan: the ranks are divided over the nodes in blocks, in order."""
    nodes = () if evidence.record is None else evidence.record.nodes
    ranks = max([rank, *evidence.ranks_with_logs, *evidence.ranks]) + 1
    index = rank * len(nodes) // ranks
    return nodes[index] if index < len(nodes) else None


def _signalled(evidence: Evidence) -> dict[int, Line]:
    """Rank → the line that says that a signal ended it, in the order of the lines."""
    found: dict[int, Line] = {}
    for line in evidence.batch:
        match = _ENDED_BY_SIGNAL.search(line.text)
        if match is None:
            continue
        for rank in [int(match["rank"])] if match["rank"] else _tasks(match["tasks"]):
            found.setdefault(rank, line)
    return found


def _tasks(text: str) -> list[int]:
    ranks: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if low.isdecimal() and len(low) < 8 and len(high) < 8:
            last = int(high) if high.isdecimal() else int(low)
            ranks += range(int(low), min(last, int(low) + 10_000) + 1)
    return ranks


def _by_logs(evidence: Evidence) -> FirstRank | None:
    """The first rank by the logs, if no rank lived long enough to record anything."""
    earliest: tuple[float, int, Line] | None = None
    for rank in evidence.ranks_with_logs[:MOST_LOGS]:
        log = evidence.rank_log(rank, SHORT_TAIL_BYTES)
        line = next((each for each in log.telling if _tells(each.text)), None)
        if line is not None:
            candidate = (log.time_of(line), rank, line)
            earliest = min(earliest or candidate, candidate, key=lambda each: each[:2])
    if earliest is None:
        return None
    _, rank, _ = earliest
    return _found(evidence, rank, "its log has the earliest line that tells of a failure", ())


def _tells(text: str) -> bool:
    return not lost_a_peer(text) and any(cause.fits(text) for cause in CAUSES)
