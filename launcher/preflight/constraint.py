"""Evaluates `resources.constraint`: its features, and whether a node satisfies it. Pure."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[A-Za-z0-9_.@=+:-]+|[&|()]")


def feature_names(constraint: str) -> list[str]:
    """The features in a constraint, each once: `[a*2&b]|c` has a, b and c."""
    tokens = _TOKEN.findall(re.sub(r"\*\d*", "", constraint))
    return list(dict.fromkeys(each for each in tokens if each not in "&|()"))


def satisfies(features: frozenset[str], constraint: str) -> bool:
    """Whether a node with these features satisfies a constraint, as far as one node can.

    If the constraint counts nodes (`a*2&b*1`) or cannot be parsed, one of its features is enough:
    `sbatch --test-only` then has the last word.
    """
    if "*" not in constraint:
        tokens = _TOKEN.findall(constraint.translate(str.maketrans("[],", "()&")))
        try:
            value = _any(tokens, features)
        except (IndexError, ValueError):
            pass
        else:
            if not tokens:
                return value
    return any(name in features for name in feature_names(constraint))


def _any(tokens: list[str], features: frozenset[str]) -> bool:
    value = _all(tokens, features)
    while tokens[:1] == ["|"]:
        del tokens[0]
        value |= _all(tokens, features)
    return value


def _all(tokens: list[str], features: frozenset[str]) -> bool:
    value = _one(tokens, features)
    while tokens[:1] == ["&"]:
        del tokens[0]
        value &= _one(tokens, features)
    return value


def _one(tokens: list[str], features: frozenset[str]) -> bool:
    """Evaluate a feature or brackets; raises IndexError at the end, ValueError at an operator."""
    first = tokens.pop(0)
    if first == "(":
        value = _any(tokens, features)
        if tokens.pop(0) != ")":
            raise ValueError("a bracket is not closed")
        return value
    if first in "&|)":
        raise ValueError("an operator has no feature before it")
    return first in features
