"""One rank agrees with itself, and still has what the scope put in (LI-050 to LI-052)."""

import json

import pytest

from ptycho_dist.legacy import (
    LegacyError,
    LegacyMismatch,
    LegacyScope,
    params,
    require_same_on_all_ranks,
)


def test_one_short_text_while_all_is_well(config):
    """LI-050"""
    texts = []

    def gather(text):
        texts.append(text)
        return [text]

    with LegacyScope(config) as scope:
        for epoch in range(3):
            require_same_on_all_ranks(scope, gather, f"before epoch {epoch}")
    assert len(texts) == 3
    assert all(len(text) < 100 for text in texts)


def test_values_that_are_not_those_of_the_scope_are_refused(config):
    """LI-052"""
    scope = LegacyScope(config).__enter__()
    dict.update(params.cfg, N=32)
    with pytest.raises(LegacyError, match=r"^before epoch 2, on all ranks: .*N: 32 in place of 64"):
        require_same_on_all_ranks(scope, lambda text: [text], "before epoch 2")
    dict.update(params.cfg, N=64)
    scope.close()


@pytest.mark.parametrize("spoil", ["closed", "odd", "strange"])
def test_a_rank_that_cannot_state_its_values_says_so(spoil, config, foreign):
    """LI-051: it comes to the gather in any case."""

    class Strange:
        @property
        def dtype(self):
            raise ZeroDivisionError("no dtype today")

    scope = LegacyScope(config, module="foreign_params")
    if spoil != "closed":
        scope.__enter__()
        foreign.cfg["label"] = open if spoil == "odd" else Strange()
    gathered = []

    def gather(text):
        gathered.append(json.loads(text))
        return [text]

    words = {"closed": "no LegacyScope", "odd": "'label' cannot be", "strange": "no dtype today"}
    with pytest.raises(LegacyMismatch, match=f"at the start: rank 0: .*{words[spoil]}"):
        require_same_on_all_ranks(scope, gather)
    assert len(gathered) == 1
