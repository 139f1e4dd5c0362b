"""Numbers of results that claims rest on and that are no cell of a table: learnt scales, shares, weights, counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import config, paths
from pipeline.files import read_json
from pipeline.verdicts.results import Results, load_experiment

COSTS = ("parameters_total", "macs")
GSL = ("pod_frcnn_r50_c4_1x_gsl", "pod_frcnn_r50_fpn_1x_gsl", "pod_retinanet_r50_fpn_1x_gsl")  # of table 3
CONV2 = "pod_frcnn_r50_fpn_1x_gsl_conv2"
C4, FPN = GSL[0], GSL[1:]
FD = tuple(name.replace("_gsl", "_fd") for name in GSL)
DST_BASE = "dst_frcnn_r50_fpn_1x"
PSCONV, PSCONV_CIFAR = "psconv_cls_r50_120ep_cos_psconv", "psconv_cls_x29_16x64d_300ep_psconv"  # figure 6, left, right
CNN_B = "snip_cls_r101_cnn_b"
CNN_S = {"48": "snip_cls_r101_cnn_s_48px_stride1_3x3", "96": "snip_cls_r101_cnn_s_96px_stride2_5x5"}
CNN_FT = {"48": "snip_cls_r101_cnn_b_ft_48px_up", "96": "snip_cls_r101_cnn_b_ft_96px_up"}
RPN = ("snip_rpn_r50_6ep_ms_train_conv4_5anchor", "snip_rpn_r50_6ep_ms_train_conv45_7anchor")  # without SNIP


class Number(NamedTuple):
    """A number and the files that it comes from; without one, `reason` says why not, or nothing was run."""

    value: float | None
    files: tuple[Path, ...] = ()
    reason: str = ""
    note: str = "one result, no interval"


def number(results: Results, name: str) -> Number:
    """Return one of the numbers by its name, as `data/published/readings.yaml` has it."""
    return NUMBERS[name](results)


def _scale_files(results: Results, names: Sequence[str]) -> tuple[Path, ...]:
    return tuple(paths.scales(results.name, name) for name in names if results.scales(name) is not None)


def _mean(values: dict, axis: str) -> float:
    return values[f"mean_{axis}"]


def _percent_spread(values: dict, axis: str) -> float:
    mean = values[f"mean_{axis}"]
    return 100 * values[f"std_{axis}"] / mean if mean else math.inf


def _shift(values: dict, axis: str) -> float:
    return abs(values[f"mean_{axis}"] - 1)


def _scales(
    results: Results,
    names: Sequence[str],
    reduce: Callable[[list[float]], float | None],
    pick: Callable[[str], bool] = lambda layer: True,
    cell: Callable[[dict, str], float] = _mean,
) -> Number:
    """Return one number of the learnt scales (of every picked layer, height and width) of some experiments."""
    learnt = [scales["layers"] for name in names if (scales := results.scales(name)) is not None]
    picked = [values for layers in learnt for layer, values in layers.items() if pick(layer)]
    found = [cell(values, axis) for values in picked for axis in "hw"]
    return Number(reduce(found) if found else None, _scale_files(results, names))


def largest_scale_spread(results: Results) -> Number:
    """Of every learner that was run, and how many of their scales are near 0, where a share of the mean says little."""
    names = [name for name in config.experiments("pod") if load_experiment(name).method.global_scale]
    learnt = [scales for name in names if (scales := results.scales(name)) is not None]
    counts = [sum(len(found[key]) for found in learnt if key in found) for key in ("layers", "near_zero")]
    note = f"{len(learnt)} learners with {2 * counts[0]} scales, {counts[1]} of them near 0"
    return _scales(results, names, max, cell=_percent_spread)._replace(note=note)


def conv2_scale_shift(results: Results) -> Number:
    return _scales(results, (CONV2,), max, lambda layer: layer.startswith("layer1."), _shift)


def fd_extra_cost(results: Results) -> Number:
    """Return the largest surplus of FD's parameters or multiply-adds over its baseline's, in percent."""
    sizes = [[results.size(name) for name in (fd, fd.removesuffix("_fd"))] for fd in FD]
    extra = [100 * (own[key] / base[key] - 1) for own, base in sizes if own and base for key in COSTS]
    files = tuple(paths.size(results.name, name) for fd in FD for name in (fd, fd.removesuffix("_fd")))
    return Number(max(extra, default=None), files, note="counted under this preset, with the scales that it learnt")


def scale_images(results: Results) -> Number:
    found = [scales["images"] for name in GSL if (scales := results.scales(name)) is not None]
    return Number(min(found, default=None), _scale_files(results, GSL))


def res4_6_scale(results: Results) -> Number:
    scales = results.scales(C4)
    if scales is not None and "layer3.5" not in scales["layers"]:
        return Number(None, reason="this preset's network has no sixth block in conv4_x")
    return _scales(results, (C4,), min, lambda layer: layer == "layer3.5")


def largest_stride2_scale(results: Results) -> Number:
    return _scales(results, FPN, max, lambda layer: layer.endswith(".0"))


def stride1_above_1(results: Results) -> Number:
    return _scales(results, GSL, lambda found: _share([v > 1 for v in found]), lambda layer: not layer.endswith(".0"))


def fpn_over_c4_scales(results: Results) -> Number:
    c4, fpn = results.scales(C4), results.scales(FPN[0])
    if c4 is None or fpn is None:
        return Number(None)
    shared = sorted(set(c4["layers"]) & set(fpn["layers"]))
    sums = [sum(found["layers"][layer][f"mean_{axis}"] for layer in shared for axis in "hw") for found in (fpn, c4)]
    return Number(sums[0] / sums[1], _scale_files(results, (C4, FPN[0])))


def low_share_steps(results: Results) -> Number:
    summary = results.training(DST_BASE)
    share = (summary or {}).get("low_share_steps")
    return Number(None if share is None else 100 * share, (paths.training_summary(results.name, DST_BASE),))


def cnn_b_drops(results: Results) -> Number:
    errors = _by_resolution(results, CNN_B)
    sides = sorted(errors, key=int)
    steps = [errors[low] > errors[high] for low, high in itertools.pairwise(sides)]
    return Number(_share(steps), (paths.training_summary(results.name, CNN_B),))


def cnn_order(results: Results) -> Number:
    plain, orders = _by_resolution(results, CNN_B), []
    for side in CNN_S:
        small, tuned = (_by_resolution(results, names[side]).get(side) for names in (CNN_S, CNN_FT))
        if None in (small, tuned, plain.get(side)):
            return Number(None)
        orders += [tuned < small, small < plain[side]]
    names = (CNN_B, *CNN_S.values(), *CNN_FT.values())
    return Number(_share(orders), tuple(paths.training_summary(results.name, name) for name in names))


def large_recall(results: Results) -> Number:
    found = [(results.metrics(name) or {}).get("recall50_100_up") for name in RPN]
    files = tuple(paths.metrics(results.name, name) for name in RPN)
    return Number(None if None in found else 100 * min(found), files)


def _by_resolution(results: Results, name: str) -> dict[str, float]:
    """Return a classifier's top-1 error by the side that test images are reduced to."""
    found = (results.training(name) or {}).get("resolutions") or {}
    return {side: row["top1_error"] for side, row in found.items() if row.get("top1_error") is not None}


def _large_shares(results: Results, network: str = PSCONV) -> tuple[list[tuple[int, float]], tuple[Path, ...]]:
    """Return each PSConv block's stride and the share of its largest dilation, front to back, then their file."""
    layers, file = _rows(paths.weight_share(results.name, network), "layers")
    return [(x["stride"], x["rates"][max(x["rates"], key=int)]["share"]) for x in layers.values()], file


def stride2_large_rates(results: Results, network: str = PSCONV) -> Number:
    rows, file = _large_shares(results, network)
    halves = [[share for stride, share in rows if (stride == 2) == strided] for strided in (True, False)]
    if not all(halves):
        return Number(None)
    means = [sum(shares) / len(shares) for shares in halves]
    return Number(100 * means[0] / means[1], file)


def cifar_stride2_large_rates(results: Results) -> Number:
    return stride2_large_rates(results, PSCONV_CIFAR)


def stride2_plain_largest(results: Results) -> Number:
    """Return how many blocks of stride 2 give dilation 1 the largest share of their weight, in percent."""
    layers, file = _rows(paths.weight_share(results.name, PSCONV), "layers")
    shares = [{rate: found["share"] for rate, found in x["rates"].items()} for x in layers.values() if x["stride"] == 2]
    return Number(_share([max(rates, key=rates.get) == "1" for rates in shares]), file)


def cifar_large_rates_by_depth(results: Results) -> Number:
    return large_rates_by_depth(results, PSCONV_CIFAR)


def large_rates_by_depth(results: Results, network: str = PSCONV) -> Number:
    rows, file = _large_shares(results, network)
    shares = [share for _, share in rows]
    return Number(rank_correlation(shares, range(len(shares))) if len(shares) > 2 else None, file)


def ps_resnet50_over_resnet101(results: Results) -> Number:
    rows, file = _rows(paths.metrics(results.name, "identities"), "rows")
    found = {row["name"]: row["parameters"] for row in rows}
    ours, base = (found.get(f"psconv.{name}") for name in ("ps_resnet50", "resnet101"))
    return Number(100 * ours / base if ours and base else None, file)


def largest_count_difference(results: Results) -> Number:
    rows, file = _rows(paths.metrics(results.name, "identities"), "rows")
    off = [abs(row["parameters"] / 1e6 / row["printed"] - 1) for row in rows if row["parameters"] and row["printed"]]
    return Number(100 * max(off) if off else None, file)


def _rows(path: Path, key: str) -> tuple[Any, tuple[Path, ...]]:
    """Return a part of a JSON file, and the file; nothing where it was not made."""
    return (read_json(path)[key], (path,)) if path.is_file() else ({}, ())


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks. 0 where either is constant."""

    def ranks(values: Sequence[float]) -> list[float]:
        ordered = sorted(values)
        return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]

    a, b = ranks(left), ranks(right)
    middle = (len(a) - 1) / 2
    top = sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    size = math.sqrt(sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b))
    return top / size if size else 0.0


def _share(flags: Sequence[bool]) -> float | None:
    return 100 * sum(flags) / len(flags) if flags else None


NUMBERS: dict[str, Callable[[Results], Number]] = {
    found.__name__: found
    for found in (
        *(largest_scale_spread, scale_images, res4_6_scale, largest_stride2_scale, fpn_over_c4_scales, stride1_above_1),
        *(conv2_scale_shift, fd_extra_cost),
        *(low_share_steps, cnn_b_drops, cnn_order, large_recall),
        *(stride2_large_rates, cifar_stride2_large_rates, stride2_plain_largest),
        *(large_rates_by_depth, cifar_large_rates_by_depth),
        *(ps_resnet50_over_resnet101, largest_count_difference),
    )
}
