"""GSL, FD, rounded and plain networks compared by their density of connections, for printed and learnt scales."""

from typing import Any, NamedTuple

import torch

from pipeline import paths
from pipeline.analysis.receptive_field import (
    KERNELS,
    STEM_STRIDE,
    Density,
    bottlenecks,
    density,
    difference,
    kernel_density,
    summarise,
)
from pipeline.config import resolve
from pipeline.files import read_json
from pipeline.models.backbones.resnet import resnet_shape
from pipeline.preset import ModelSize
from pipeline.published.tables import load_published
from pipeline.spec import Spec

TABLE = "pod_t3"
SPLIT = "train"  # the scales that are decomposed
BLOCKS = {  # by the table's columns, whose R31 is the first block of conv3_x
    "31": "layer2.0",
    "34": "layer2.3",
    "41": "layer3.0",
    "46": "layer3.5",
    "51": "layer4.0",
    "53": "layer4.2",
}
STAGES = {"fpn": 4, "c4": 3}  # a C4 detector's conv5_x runs on RoIs, whose positions are not the image's
FLOOR = 1e-6  # a profile leaves out offsets with a smaller share of the paths
TITLES = {"faster_rcnn": "Faster R-CNN", "retinanet": "RetinaNet"}
Scales = dict[str, tuple[float, float]]


class Case(NamedTuple):
    """Scales (h, w) by block of one backbone, and the planes and blocks of its stages that see the image."""

    name: str
    title: str
    planes: tuple[int, ...]
    blocks: tuple[int, ...]
    scales: Scales
    source: str


def analyse(experiment: str, preset: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compare the networks of POD's table 3 and, where they exist, those of an experiment's learnt scales.

    Returns:
        The numbers of each case, and the profiles of its densities: one row per case, axis, network and offset.
    """
    spec = resolve(experiment, preset)
    cases = printed_cases()
    learnt = paths.scales(preset, experiment)
    if learnt.is_file():
        cases.append(learnt_case(spec, read_json(learnt)["layers"]))
    numbers, profiles = {}, []
    for case in cases:
        densities = {network: density(network_blocks(case, network)) for network in KERNELS}
        numbers[case.name] = compare(case, densities)
        profiles += [row for network, found in densities.items() for row in profile_rows(case.name, network, found)]
    return {"experiment": experiment, "preset": preset, "learnt": learnt.is_file(), "cases": numbers}, profiles


def printed_cases() -> list[Case]:
    """Return the backbones of POD's table 3, which prints the scales of first and last blocks; others are plain."""
    table = load_published("pod").table(TABLE)
    cases: dict[str, Case] = {}
    shape = resnet_shape("resnet50", ModelSize())
    for row in table.rows:
        factors = row.factors
        if factors["split"] != SPLIT or factors["direction"] != "h":
            continue
        other = next(r for r in table.rows if r.factors == {**factors, "direction": "w"})
        stages = STAGES[factors["neck"]]
        scales = {
            block: (row.values[f"scale_r{column}"], other.values[f"scale_r{column}"])
            for column, block in BLOCKS.items()
            if int(block[5]) <= stages
        }
        name = f"printed_{factors['detector']}_{factors['neck']}"
        title = f"{TITLES[factors['detector']]} R50-{factors['neck'].upper()}, printed scales"
        source = f"{TABLE}, split {SPLIT}: first and last block of a stage; blocks between are plain"
        cases[name] = Case(name, title, shape.planes[:stages], shape.blocks[:stages], scales, source)
    return list(cases.values())


def learnt_case(spec: Spec, layers: dict[str, dict[str, float]]) -> Case:
    """Return the backbone of a GSL experiment at its preset's size, with the scales it learnt."""
    shape = resnet_shape(spec.experiment.backbone, spec.preset.model)
    stages = STAGES.get(spec.experiment.neck, len(shape.planes))
    scales = {name: (layer["mean_h"], layer["mean_w"]) for name, layer in layers.items() if int(name[5]) <= stages}
    source = f"learnt by {spec.name} under preset {spec.preset.name}"
    title = f"{spec.name}, preset {spec.preset.name}, learnt scales"
    return Case("learnt", title, shape.planes[:stages], shape.blocks[:stages], scales, source)


def network_blocks(case: Case, network: str) -> list[Any]:
    """Return the blocks of one of a case's networks: `plain`, `gsl`, `fd` or `rounded`."""
    kernels = {
        name: KERNELS[network](*scale, case.planes[int(name[5]) - 1]) for name, scale in sorted(case.scales.items())
    }
    return bottlenecks(case.planes, case.blocks, kernels)


def compare(case: Case, densities: dict[str, Density]) -> dict[str, Any]:
    """Return what each network of a case connects, and its distance from GSL, as a whole and by layer.

    `difference_to_gsl` is the share of paths that end elsewhere (total variation, 0 to 1); `beyond_plain` is the share
    of paths that end outside the plain network's receptive field.
    """
    gsl, plain = densities["gsl"].share, densities["plain"].share
    networks = {
        name: {
            **summarise(found),
            "beyond_plain": round(1 - inside(found.share, plain), 6),
            "difference_to_gsl": round(difference(found.share, gsl), 6),
        }
        for name, found in densities.items()
    }
    layers = {}
    for block, scale in sorted(case.scales.items()):
        channels = case.planes[int(block[5]) - 1]
        own = {name: kernel_density(kernel(*scale, channels)) for name, kernel in KERNELS.items()}
        layers[block] = {
            "scale": list(scale),
            **{name: round(difference(own[name], own["gsl"]), 6) for name in ("fd", "rounded", "plain")},
        }
    return {
        "title": case.title,
        "source": case.source,
        "networks": networks,
        "layer_difference_to_gsl": layers,
    }


def inside(share: torch.Tensor, other: torch.Tensor) -> float:
    """Return the share of a density's paths that lie within the extent of another."""
    margins = [max(0, (a - b) // 2) for a, b in zip(share.shape, other.shape, strict=True)]
    cut = [slice(margin, size - margin) for margin, size in zip(margins, share.shape, strict=True)]
    return min(1.0, float(share[cut[0], cut[1]].sum()))


def profile_rows(case: str, network: str, found: Density) -> list[dict[str, Any]]:
    """Return each axis's share of paths per pixel by offset, summed over the other axis, while it is at least `FLOOR`.

    Offsets are from the centre; both sides are equal. A row is the mean of `STEM_STRIDE` pixels, because the stem's
    strides give neighbouring pixels different numbers of paths.
    """
    rows = []
    for axis, name in enumerate(("height", "width")):
        profile = found.share.sum(1 - axis)
        half = profile[len(profile) // 2 :]
        half = half[: len(half) // STEM_STRIDE * STEM_STRIDE].view(-1, STEM_STRIDE).mean(1).tolist()
        for step, share in enumerate(half):
            if share >= FLOOR:
                row = {"case": case, "axis": name, "network": network, "offset": (step + 0.5) * STEM_STRIDE - 0.5}
                rows.append({**row, "share": float(f"{share:.4g}")})
    return rows
