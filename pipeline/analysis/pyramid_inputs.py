"""What an image pyramid's epoch has before anything runs: units and pixels, counted, or those of COCO's labels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from pipeline import paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.labelled.sets import LabelSet
from pipeline.data.manifest import load_split
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.options import PyramidLevel
from pipeline.spec import Spec
from pipeline.training.epochs import Units
from pipeline.training.pyramid import count_units
from pipeline.training.pyramid_units import level_units

LABELS = Path("reports/benchmarks/annotation_statistics.json")


class LabelledBoxes:
    """Sizes and boxes of a `LabelSet`'s images with objects, as `level_units` reads them."""

    def __init__(self, labels: LabelSet) -> None:
        order = np.argsort(labels.rows, kind="stable")
        images, starts = np.unique(labels.rows[order], return_index=True)
        corners = torch.from_numpy(labels.boxes[order]).float()
        corners[:, 2:] += corners[:, :2]
        self.boxes: list[Tensor] = list(corners.tensor_split(torch.from_numpy(starts[1:])))
        self._sizes = labels.sizes[images].astype(int)

    def __len__(self) -> int:
        return len(self.boxes)

    def size(self, row: int) -> tuple[int, int]:
        return int(self._sizes[row, 0]), int(self._sizes[row, 1])


def expected_units(spec: Spec) -> Units:
    """Return the units of an epoch by resolution: counted where the data are verified, else those of COCO's labels."""
    if not spec.experiment.pyramid:
        return Units()
    manifest = paths.ROOT / spec.manifest
    if spec.preset.name != "full" and manifest.is_file():
        return _counted(msgspec.json.encode(spec), manifest, manifest.stat().st_mtime_ns)
    plain = (1.0,) * len(spec.experiment.pyramid)
    if spec.experiment.method.snip is None:
        return Units(plain)
    known = read_json(paths.ROOT / LABELS)["units"]["train2017"]
    names = [level_name(spec, level) for level in spec.experiment.pyramid]
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"{LABELS} has no units at {missing[0]}, which {spec.name} trains on; run verify first.")
    return Units(plain, tuple(known[name] for name in names))


@lru_cache(maxsize=64)
def _counted(spec: bytes, manifest: Path, changed: int) -> Units:
    """Count once what many stages of a plan ask for; `changed` is when the data were."""
    known = msgspec.json.decode(spec, type=Spec)
    return count_units(known, DetectionSet(load_split(manifest, "train"), known.data.limit_train))


def labelled_units(specs: list[Spec], labels: LabelSet) -> dict[str, float]:
    """Return the units that an image of a label set gives an epoch at every resolution with ranges, by `level_name`."""
    boxes, found = LabelledBoxes(labels), {}
    for spec in specs:
        for number, level in enumerate(spec.experiment.pyramid):
            name = level_name(spec, level)
            if name not in found and len(boxes):
                found[name] = round(len(level_units(spec, boxes, number, True)) / len(boxes), 4)
    return found


def level_name(spec: Spec, level: PyramidLevel) -> str:
    """Return in words what the units of a level with ranges depend on."""
    low, high = level.proposal_range if spec.experiment.detector == "d_rfcn_rpn" else level.head_range
    chips = f"{level.chips} chips of {level.chip_size}" if level.chip_size else "whole images"
    return f"{level.short_side}x{level.long_side}, {chips}, {low:g} px {'and more' if high is None else f'to {high:g}'}"
