"""Small agreements of all ranks, over a CPU group of their own: never on the GPU's stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist


class Agreement:
    """Sums and votes of all ranks. With one rank it is local and free."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._group = None
        if ranks > 1 and dist.get_backend() != "gloo":
            self._group = dist.new_group(backend="gloo")

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes; blocks until all have spoken."""
        return self.sum([float(flag)])[0] > 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element-wise float64 sum over all ranks; blocks until all have spoken."""
        if self._ranks == 1:
            return [float(value) for value in values]
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self._group)
        return tensor.tolist()

    def texts(self, text: str) -> list[str]:
        """The texts of all ranks, in rank order; blocks until all have spoken."""
        if self._ranks == 1:
            return [text]
        own = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self._ranks)]
        dist.all_gather(lengths, torch.tensor([len(own)]), group=self._group)
        longest = int(max(lengths))
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self._ranks)]
        padded = torch.nn.functional.pad(own, (0, longest - len(own)))
        dist.all_gather(parts, padded, group=self._group)
        return [
            bytes(part[: int(length)].tolist()).decode()
            for part, length in zip(parts, lengths, strict=True)
        ]

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over all ranks, on the device it came from; blocks until all are in."""
        if self._ranks == 1:
            return tensor
        total = tensor.detach().to("cpu", copy=True)
        parts = torch.view_as_real(total) if total.is_complex() else total
        dist.all_reduce(parts, group=self._group)
        return total.to(tensor.device)
