"""The same layout of DDP's gradient buckets from the first step on, in every attempt.

DDP rearranges its buckets after the first backward pass, and the place of a gradient in a bucket
decides in which order the parts of the ranks are added. Without this module, with three ranks or
more, the first step of a resumed attempt would round differently from the same step of an
uninterrupted run.
"""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.nn import Parameter

from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.module import LossSums, PtychoModule


def settle_ddp_buckets(
    trainer: Trainer, module: PtychoModule, data: PtychoData
) -> Parameter | None:
    """Run one forward and backward pass on one sample, so that DDP arranges its buckets.

    All ranks call this together, before anything counts. Weights, buffers and sums are restored;
    random generators are not.

    Returns:
        The parameter that gets its gradient last, here and in each step, as the graph does not
        change; None without DDP, where nothing is done.
    """
    if not isinstance(trainer.strategy, DDPStrategy):
        return None
    ready: list[Parameter] = []
    hooks = [
        parameter.register_post_accumulate_grad_hook(ready.append)
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    buffers = {name: tensor.clone() for name, tensor in module.named_buffers()}
    batch = trainer.strategy.batch_to_device(data.train.collate(data.train.__getitems__([0])))
    loss = trainer.strategy.training_step(batch, 0)
    loss.backward()  # type: ignore[union-attr]
    module.zero_grad(set_to_none=True)
    module.train_sums = LossSums()
    for name, tensor in module.named_buffers():
        tensor.copy_(buffers[name])
    for hook in hooks:
        hook.remove()
    return ready[-1]
