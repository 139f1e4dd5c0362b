"""The weight of each dilation rate in a trained PSConv layer (PSConv, appendix D, figure 6)."""

import re
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.layers import PSConv2d
from pipeline.models import build_classifier, build_detector
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights

DRAWS = 20  # of untrained weights


def weight_shares(weight: Tensor, lattice: Tensor) -> dict[int, float]:
    """Return the share of every dilation rate in one layer; shares sum to 1.

    A kernel's size is the mean of its absolute values, and a rate's proxy is the largest size among its kernels. Shares
    are proxies divided by their sum (PSConv, appendix D). Where all weights are 0, all shares are equal.

    Differs from the paper, which says "normalized inside each layer" but not how: here it is by the sum.

    Args:
        weight: [C_out, C_in / groups, k, k].
        lattice: dilation of every kernel, int [C_out, C_in / groups].

    Raises:
        ValueError: a lattice of another shape than the weight's kernels, or a weight that is not finite.
    """
    if weight.shape[:2] != lattice.shape:
        raise ValueError(f"Expected a lattice of shape {list(weight.shape[:2])}, got {list(lattice.shape)}.")
    sizes = weight.detach().double().abs().mean((2, 3))
    if not sizes.isfinite().all():
        raise ValueError(f"{int((~sizes.isfinite()).sum())} kernels are not finite; the training has diverged.")
    proxies = {rate: sizes[lattice == rate].max().item() for rate in sorted(set(lattice.flatten().tolist()))}
    total = sum(proxies.values())
    return {rate: proxy / total if total else 1 / len(proxies) for rate, proxy in proxies.items()}


def untrained_shares(
    shape: tuple[int, ...], lattice: Tensor, draws: int = DRAWS, seed: int = 0
) -> dict[int, tuple[float, float]]:
    """Return the mean and standard deviation of each rate's share in normally initialised weights of any scale.

    The largest of more kernels is larger, so a rate with half of the kernels starts above the others, which must not be
    taken for learnt. Rates with equally many kernels are pooled.
    """
    generator = torch.Generator().manual_seed(seed)
    found = [weight_shares(torch.randn(shape, generator=generator), lattice) for _ in range(draws)]
    kernels = {rate: int((lattice == rate).sum()) for rate in found[0]}
    pooled: dict[int, list[float]] = {}
    for shares in found:
        for rate, share in shares.items():
            pooled.setdefault(kernels[rate], []).append(share)
    summary = {count: (statistics.fmean(values), statistics.stdev(values)) for count, values in pooled.items()}
    return {rate: summary[count] for rate, count in kernels.items()}


def layer_shares(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return the shares, untrained shares and number of kernels of every PSConv layer of a network, by block.

    Args:
        model: the network; it may be on the meta device, because its weights are not read.
        tensors: its trained weights.

    Raises:
        ValueError: a layer whose weight is missing in `tensors`.
    """
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, PSConv2d):
            continue
        if f"{name}.weight" not in tensors:
            raise ValueError(f"The weights hold no {name}.weight; they belong to another network.")
        weight, lattice = tensors[f"{name}.weight"], module.dilation_lattice()
        trained, untrained = weight_shares(weight, lattice), untrained_shares(tuple(weight.shape), lattice)
        rates = {
            str(rate): {
                "kernels": int((lattice == rate).sum()),
                "share": round(share, 6),
                "untrained_share": round(untrained[rate][0], 6),
                "untrained_deviation": round(untrained[rate][1], 6),
            }
            for rate, share in trained.items()
        }
        found[block_name(name)] = {"stride": module.stride[0], "rates": rates}
    return found


def block_name(module: str) -> str:
    """Return the block of a convolution: `backbone.body.layer2.0.conv2` is in `layer2.0`; else the whole name."""
    match = re.search(r"(layer\d+\.\d+)\.conv2$", module)
    return match[1] if match else module


def share_weights(spec: Spec) -> dict[str, Any]:
    """Write the weight shares of a trained PSConv experiment to `paths.weight_share`, and return them.

    Raises:
        InputError: an experiment without PSConv, or without trained weights.
    """
    if spec.experiment.method.psconv is None:
        raise InputError(f"{spec.name} has no PSConv layers; name a *_psconv experiment.")
    classifier = spec.experiment.detector == "classifier"
    tensors, _ = load_weights((paths.init if classifier else paths.weights)(spec.preset.name, spec.name))
    if classifier:  # its weights are kept as a detector's init
        tensors = {name.removeprefix("backbone."): value for name, value in tensors.items()}
    with torch.device("meta"):
        model = (build_classifier if classifier else build_detector)(spec)
    result = {"experiment": spec.name, "layers": layer_shares(model, tensors)}
    write_json(paths.weight_share(spec.preset.name, spec.name), result)
    return result
