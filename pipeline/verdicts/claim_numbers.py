"""Numbers of results that claims rest on and that are no cell of a table: learnt scales, shares, weights, counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import paths
from pipeline.files import read_json
from pipeline.verdicts.results import Results

GSL = ("pod_frcnn_r50_c4_1x_gsl", "pod_frcnn_r50_fpn_1x_gsl", "pod_retinanet_r50_fpn_1x_gsl")  # of table 3
C4, FPN = GSL[0], GSL[1:]
DST_BASE, PSCONV = "dst_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x_psconv"
CNN_B = "snip_cls_r101_cnn_b"
CNN_S = {"48": "snip_cls_r101_cnn_s_48px_stride1_3x3", "96": "snip_cls_r101_cnn_s_96px_stride2_5x5"}
CNN_FT = {"48": "snip_cls_r101_cnn_b_ft_48px_up", "96": "snip_cls_r101_cnn_b_ft_96px_up"}


class Number(NamedTuple):
    """A number and the files that it comes from; without one, `reason` says why not, or nothing was run."""

    value: float | None
    files: tuple[Path, ...] = ()
    reason: str = ""


def number(results: Results, name: str) -> Number:
    """Return one of the numbers by its name, as `data/published/readings.yaml` has it."""
    return NUMBERS[name](results)


def _learnt(results: Results, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        scales = results.scales(name)
        if scales is not None:
            yield name, scales


def _scale_files(results: Results, names: Sequence[str]) -> tuple[Path, ...]:
    return tuple(paths.scales(results.name, name) for name, _ in _learnt(results, names))


def _of_scales(
    results: Results, names: Sequence[str], pick: Callable[[str], bool], cell: Callable[[dict, str], float]
) -> list[float]:
    """Return a value of each learnt scale (layer and axis) of some experiments whose layer is picked."""
    return [
        cell(values, axis)
        for _, scales in _learnt(results, names)
        for layer, values in scales["layers"].items()
        if pick(layer)
        for axis in "hw"
    ]


def _mean_cell(values: dict, axis: str) -> float:
    return values[f"mean_{axis}"]


def _largest_scale_spread(results: Results) -> Number:
    def spread(values: dict, axis: str) -> float:
        return 100 * values[f"std_{axis}"] / abs(values[f"mean_{axis}"] or math.nan)

    found = _of_scales(results, GSL, lambda layer: True, spread)
    return Number(max(found, default=None), _scale_files(results, GSL))


def _scale_images(results: Results) -> Number:
    found = [scales["images"] for _, scales in _learnt(results, GSL)]
    return Number(min(found, default=None), _scale_files(results, GSL))


def _res4_6(results: Results) -> Number:
    scales = results.scales(C4)
    if scales is not None and "layer3.5" not in scales["layers"]:
        return Number(None, reason="this preset's network has no sixth block in conv4_x")
    found = _of_scales(results, (C4,), lambda layer: layer == "layer3.5", _mean_cell)
    return Number(min(found, default=None), _scale_files(results, (C4,)))


def _largest_stride2(results: Results) -> Number:
    found = _of_scales(results, FPN, lambda layer: layer.endswith(".0"), _mean_cell)
    return Number(max(found, default=None), _scale_files(results, FPN))


def _stride1_above_1(results: Results) -> Number:
    found = _of_scales(results, GSL, lambda layer: not layer.endswith(".0"), _mean_cell)
    return Number(_share([value > 1 for value in found]), _scale_files(results, GSL))


def _fpn_over_c4(results: Results) -> Number:
    c4, fpn = results.scales(C4), results.scales(FPN[0])
    if c4 is None or fpn is None:
        return Number(None)
    shared = sorted(set(c4["layers"]) & set(fpn["layers"]))
    sums = [sum(found["layers"][layer][f"mean_{axis}"] for layer in shared for axis in "hw") for found in (fpn, c4)]
    return Number(sums[0] / sums[1], _scale_files(results, (C4, FPN[0])))


def _low_share_steps(results: Results) -> Number:
    summary = results.training(DST_BASE)
    share = (summary or {}).get("low_share_steps")
    return Number(None if share is None else 100 * share, (paths.training_summary(results.name, DST_BASE),))


def _cnn_b_drops(results: Results) -> Number:
    errors = _by_resolution(results, CNN_B)
    sides = sorted(errors, key=int)
    steps = [errors[low] > errors[high] for low, high in itertools.pairwise(sides)]
    return Number(_share(steps), (paths.training_summary(results.name, CNN_B),))


def _cnn_order(results: Results) -> Number:
    plain, orders = _by_resolution(results, CNN_B), []
    for side in CNN_S:
        small, tuned = (_by_resolution(results, names[side]).get(side) for names in (CNN_S, CNN_FT))
        if None in (small, tuned, plain.get(side)):
            return Number(None)
        orders += [tuned < small, small < plain[side]]
    names = (CNN_B, *CNN_S.values(), *CNN_FT.values())
    return Number(_share(orders), tuple(paths.training_summary(results.name, name) for name in names))


def _by_resolution(results: Results, name: str) -> dict[str, float]:
    """Return a classifier's top-1 error by the side that test images are reduced to."""
    found = (results.training(name) or {}).get("resolutions") or {}
    return {side: row["top1_error"] for side, row in found.items() if row.get("top1_error") is not None}


def _large_shares(results: Results) -> tuple[list[tuple[str, int, float]], tuple[Path, ...]]:
    """Return (block, stride, share of the largest dilation) of every PSConv block, front to back."""
    path = paths.weight_share(results.name, PSCONV)
    if not path.is_file():
        return [], ()
    rows = []
    for block, layer in read_json(path)["layers"].items():
        largest = max(layer["rates"], key=int)
        rows.append((block, layer["stride"], layer["rates"][largest]["share"]))
    return rows, (path,)


def _stride2_large_rates(results: Results) -> Number:
    rows, file = _large_shares(results)
    halves = [[share for _, stride, share in rows if (stride == 2) == strided] for strided in (True, False)]
    if not all(halves):
        return Number(None)
    means = [sum(shares) / len(shares) for shares in halves]
    return Number(100 * means[0] / means[1], file)


def _large_rates_by_depth(results: Results) -> Number:
    rows, file = _large_shares(results)
    shares = [share for _, _, share in rows]
    return Number(rank_correlation(shares, range(len(shares))) if len(shares) > 2 else None, file)


def _counted(results: Results) -> tuple[list[dict[str, Any]], tuple[Path, ...]]:
    path = paths.metrics(results.name, "identities")
    return (read_json(path)["rows"], (path,)) if path.is_file() else ([], ())


def _ps_resnet50_over_resnet101(results: Results) -> Number:
    rows, file = _counted(results)
    found = {row["name"]: row["parameters"] for row in rows}
    names = ("psconv.ps_resnet50", "psconv.resnet101")
    return Number(100 * found[names[0]] / found[names[1]] if set(names) <= set(found) else None, file)


def _largest_count_difference(results: Results) -> Number:
    rows, file = _counted(results)
    off = [abs(row["parameters"] / 1e6 / row["printed"] - 1) for row in rows if row["parameters"] and row["printed"]]
    return Number(100 * max(off) if off else None, file)


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
    "largest_scale_spread": _largest_scale_spread,
    "scale_images": _scale_images,
    "res4_6_scale": _res4_6,
    "largest_stride2_scale": _largest_stride2,
    "fpn_over_c4_scales": _fpn_over_c4,
    "stride1_above_1": _stride1_above_1,
    "low_share_steps": _low_share_steps,
    "cnn_b_drops": _cnn_b_drops,
    "cnn_order": _cnn_order,
    "stride2_large_rates": _stride2_large_rates,
    "large_rates_by_depth": _large_rates_by_depth,
    "ps_resnet50_over_resnet101": _ps_resnet50_over_resnet101,
    "largest_count_difference": _largest_count_difference,
}
