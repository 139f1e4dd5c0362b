"""What an image pyramid's epoch has before anything runs: units and pixels, counted, or those of COCO's labels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

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
from pipeline.training.scale_ranges import Range

LABELS = Path("reports/benchmarks/annotation_statistics.json")


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


def labelled_units(specs: list[Spec], labels: LabelSet, chips: float) -> dict[str, float | None]:
    """Return the units that an image of a label set gives an epoch at every resolution with ranges, by `level_name`.

    Args:
        specs: the experiments whose pyramids are looked at.
        labels: the data set; images without objects do not count.
        chips: sampled chips of all its images with an object in SNIP's range at 1400x2000.
    """
    images, found = len(np.unique(labels.rows)), {}
    sizes = np.sqrt(labels.box_areas)
    for spec, level in [(one, level) for one in specs for level in one.experiment.pyramid]:
        low, high = range_of(spec, level)
        rows = labels.rows[(sizes >= low) & (sizes <= (np.inf if high is None else high))]
        units = chips if level.chip_size else len(np.unique(rows))
        found[level_name(spec, level)] = round(units / images, 4) if images else None
    return found


def range_of(spec: Spec, level: PyramidLevel) -> Range:
    """Return the valid range of a network that only proposes or only classifies."""
    return level.proposal_range if spec.experiment.detector == "d_rfcn_rpn" else level.head_range


def level_name(spec: Spec, level: PyramidLevel) -> str:
    """Return in words what the units of a level with ranges depend on."""
    low, high = range_of(spec, level)
    chips = f"{level.chips} chips of {level.chip_size}" if level.chip_size else "whole images"
    return f"{level.short_side}x{level.long_side}, {chips}, {low:g} px {'and more' if high is None else f'to {high:g}'}"
