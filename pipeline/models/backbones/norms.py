"""Batch norms of backbones: trained, with frozen statistics, or frozen."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


class FrozenStatisticsBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics stay as loaded while its weight and bias are trained (MMDetection's `norm_eval`)."""

    def train(self, mode: bool = True) -> FrozenStatisticsBatchNorm2d:
        """Stay in evaluation mode, where the running statistics are used."""
        return super().train(False)


class FrozenBatchNorm2d(FrozenStatisticsBatchNorm2d):
    """Batch norm of which nothing is trained.

    torchvision's class of this name multiplies in fp32 under autocast and keeps every product for the backward pass;
    the native kernel does neither.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for parameter in self.parameters():
            parameter.requires_grad_(False)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "frozen": FrozenBatchNorm2d,
    "frozen_statistics": FrozenStatisticsBatchNorm2d,
    "batch": nn.BatchNorm2d,
    "sync": nn.BatchNorm2d,  # a training on several devices converts it; one device needs no synchronisation
}


def rest_frozen(body: nn.Module) -> None:
    """Set norms whose weights are frozen to evaluation mode, as MMDetection does in the stages that it freezes."""
    for module in body.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad:
            module.eval()


def synchronised(norm: nn.BatchNorm2d) -> nn.Module:
    """Return a batch norm with statistics over all processes; one whose statistics are frozen is returned as it is.

    timm's norms of dual path networks contain their activation, which torch's own conversion would lose.
    """
    if isinstance(norm, FrozenStatisticsBatchNorm2d):
        return norm
    if type(norm) is nn.BatchNorm2d:
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    from timm.layers import convert_sync_batchnorm  # timm takes seconds to import

    return convert_sync_batchnorm(norm)
