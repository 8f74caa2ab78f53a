"""Sums and votes of all ranks, over a separate CPU group and never on the GPU's stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist


class Vote:
    """Questions to all ranks, whose answers arrive while the ranks continue to work."""

    def __init__(self, answers: torch.Tensor, work: dist.Work | None) -> None:
        self._answers = answers
        self._work = work

    def result(self) -> list[bool]:
        """Return for each question whether any rank said yes, the same on every rank.

        It blocks until all have voted, which they have done already if a step lies in between.
        """
        if self._work is not None:
            self._work.wait()
            self._work = None
        return [bool(answer) for answer in self._answers.tolist()]


class Agreement:
    """Sums and votes of all ranks; with one rank nothing is sent."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._group = None
        self._turn: Vote | None = None
        if ranks > 1 and dist.get_backend() != "gloo":
            self._group = dist.new_group(backend="gloo")

    def any(self, flag: bool) -> bool:
        """Return whether any rank says yes; block until all have answered."""
        return self.vote(flag).result()[0]

    def vote(self, *questions: bool) -> Vote:
        """Begin to ask all ranks; only `Vote.result` waits."""
        answers = torch.tensor(questions, dtype=torch.int32)
        if self._ranks == 1:
            return Vote(answers, None)
        work = dist.all_reduce(answers, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        return Vote(answers, work)

    def turn(self, *questions: bool) -> list[bool]:
        """Ask all ranks, and return the answers of the previous turn (no, at first).

        Once per training step: the votes travel while the next step computes, so that no rank waits
        for another beyond the reduction of the gradients. With one rank the answers are those of
        this turn.
        """
        vote = self.vote(*questions)
        if self._ranks == 1:
            return vote.result()
        before, self._turn = self._turn, vote
        return [False] * len(questions) if before is None else before.result()

    def now(self, *questions: bool) -> list[bool]:
        """Ask all ranks, and wait for their answers and for those of the last `turn`."""
        before, self._turn = self._turn, None
        earlier = [False] * len(questions) if before is None else before.result()
        answers = self.vote(*questions).result()
        return [a or b for a, b in zip(earlier, answers, strict=True)]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the element-wise float64 sum over all ranks; block until all have contributed."""
        if self._ranks == 1:
            return [float(value) for value in values]
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self._group)
        return tensor.tolist()

    def texts(self, text: str) -> list[str]:
        """Return the texts of all ranks, in rank order; block until all have contributed."""
        if self._ranks == 1:
            return [text]
        own = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = self.gather(torch.tensor(len(own))).tolist()
        parts = self.gather(torch.nn.functional.pad(own, (0, max(lengths) - len(own))))
        return [
            bytes(part[:length].tolist()).decode()
            for part, length in zip(parts, lengths, strict=True)
        ]

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """Return the tensors of all ranks, stacked in rank order; block until all have contributed.

        Args:
            own: the tensor of this rank, on the CPU; its shape is the same on all ranks.
        """
        if self._ranks == 1:
            return own[None]
        parts = [torch.zeros_like(own) for _ in range(self._ranks)]
        dist.all_gather(parts, own.contiguous(), group=self._group)
        return torch.stack(parts)

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all ranks, on its device; block until it is complete."""
        if self._ranks == 1:
            return tensor
        total = tensor.detach().to("cpu", copy=True)
        parts = torch.view_as_real(total) if total.is_complex() else total
        dist.all_reduce(parts, group=self._group)
        return total.to(tensor.device)
