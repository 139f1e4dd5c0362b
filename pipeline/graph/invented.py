"""Invented results of every stage of the graph: what the report's stages read is seen on them."""

import hashlib
from collections.abc import Mapping

from pipeline import paths
from pipeline.files import write_json, write_text
from pipeline.graph import declared
from pipeline.own.by_class import class_metric
from pipeline.own.detectors import SNIP

AP = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
METRICS = (*AP, *(f"mask_{name}" for name in AP), "map", "ar", "ar50", "ar75")
RANGES = ("recall50_0_25", "recall50_25_50", "recall50_50_100")
LAYERS = [f"layer{stage}.{block}" for stage in (2, 3, 4) for block in (0, 1)]
DRAWS = 100
SNIP_PROPOSALS = "snip_rpn_r101_6ep_single_scale_800"


def write_results(preset: str, known: Mapping[str, declared.Stage]) -> None:
    """Write plausible results of every experiment and evaluation of a preset below the working folder."""
    for stage in known.values():
        name = stage.address.rpartition("@")[2]
        script = stage.script
        if script == "evaluate":
            value = 0.2 + 0.2 * fraction(name)
            numbers = dict.fromkeys((*METRICS, *RANGES), round(value, 6))
            replicates = {key: [round(value + 0.0001 * draw, 6) for draw in range(DRAWS)] for key in numbers}
            write_json(paths.metrics(preset, name), {"experiment": name, "images": 300, **numbers, "ap50": 0.5})
            write_json(paths.bootstrap(preset, name), {"draws": DRAWS, **replicates})
        elif script == "per_class":
            write_classes(preset, name)
        elif script == "train":
            shares = {"collage_share": 0.4, "valid_objects": {"1400": 0.5, "800": 0.75, "480": 0.25}}
            write_json(paths.training_summary(preset, name), {"experiment": name, "steps": 300, **shares})
            write_text(paths.history(preset, name), "step,loss,small_share,collage\n5,1.5,0.2,0.5\n10,1.2,0.1,\n")
        elif script == "pretrain":
            errors = {"top1_error": round(0.3 + 0.1 * fraction(name), 6), "top5_error": 0.1, "val_images": 500}
            errors["resolutions"] = {side: {"top1_error": errors["top1_error"]} for side in ("48", "96", "224")}
            write_json(paths.training_summary(preset, name), {"experiment": name, "steps": 300, **errors})
            write_text(paths.history(preset, name), "step,loss,lr,top1\n5,1.5,0.1,0.2\n")
        elif script == "measure":
            size = {"parameters_total": 9_000_000, "macs": 9_000_000_000, "scales": None, "input": [240, 400]}
            write_json(paths.size(preset, name), size)
        elif script == "learn_scales":
            layer = {"mean_h": 1.2, "mean_w": 1.0, "std_h": 0.1, "std_w": 0.1}
            found = {"images": 9, "layers": dict.fromkeys(LAYERS, layer)}
            write_json(paths.scales(preset, name), {"experiment": name, **found, "val": found, "largest_shift": 0.2})
    write_json(paths.metrics(preset, "statistics"), {"splits": {}, "comparison": []})


def write_classes(preset: str, name: str) -> None:
    """Write plausible results by class of an evaluation."""
    value, own = 0.2 + 0.2 * fraction(name), paths.per_class_name(name)
    numbers = dict.fromkeys((*AP, class_metric("1"), class_metric("2")), round(value, 6)) | {"ap50": 0.5}
    objects = {"all": 120, "small": 40, "medium": 40, "large": 40}
    about = {
        "images": 300,
        "categories": [{"id": 1, "name": "ball"}, {"id": 2, "name": "clock"}],
        "objects": {"1": objects, "2": objects},
        "thresholds": {key: {"threshold": 0.5, "f1": 0.6} for key in ("1", "2")},
        "confusion": {"0": {"1": 9}, "1": {"0": 20, "1": 95, "2": 5}, "2": {"0": 30, "2": 90}},
        "pixels": {"training": 60000.0, "test": 60000.0},
    }
    if name.startswith(SNIP):
        about["pixels"]["proposals"] = {"experiment": SNIP_PROPOSALS, "training": 60000.0, "test": 60000.0}
    write_json(paths.metrics(preset, own), about | numbers)
    replicates = {key: [round(value + 0.0001 * draw, 6) for draw in range(DRAWS)] for key in numbers}
    write_json(paths.bootstrap(preset, own), {"draws": DRAWS, **replicates})


def fraction(name: str) -> float:
    """Return a number from 0 to 1 that depends only on a name."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
