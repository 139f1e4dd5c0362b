"""A whole finished detector as one ONNX file, suppression included, compared with PyTorch on validation pictures.

The file takes `image`, float32 [3, height, width], RGB in 0-1, already resized by the network's rule: the short side as
long as the test says, the long side at most as long as it says. Height and width may be anything. It gives `boxes`
[D, 4] (x1, y1, x2, y2 in that image's pixels), `labels` [D] int64 from 1 and `scores` [D], best first, above the
preset's score threshold and at most as many as its detections of a picture; D may be 0. It computes in fp32.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

from pipeline.data.detection_set import DetectionSet, load_scaled
from pipeline.data.manifest import load_manifest, load_split
from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.models import export
from pipeline.models.backbones.deformable import DeformableConv2d
from pipeline.options import Test
from pipeline.prediction.detector import load_detector
from pipeline.prediction.release import ONNX, finished
from pipeline.prediction.traceable import OnePicture, traceable
from pipeline.spec import Spec
from pipeline.training.precision import set_threads

OPSET = 17
OUTPUTS = ("boxes", "labels", "scores")
LEVELS = 5  # of a pyramid, on each of which proposals are suppressed
PICTURES = 8  # that are compared, of every shape
TOLERANCE = 1e-3  # pixels and scores
STRAY = 0.01  # share of the detections that rounding at a threshold of suppression may exchange


class Difference(NamedTuple):
    """How detections of ONNX Runtime differ from those of PyTorch."""

    detections: int  # of both
    stray: int  # have no partner of the same label within the tolerance
    largest: float  # difference of the others from their partners, in pixels or score


def export_whole(spec: Spec, folder: Path) -> dict[str, Any]:
    """Write the ONNX file of a trained detector into a folder, for its first test of one look at a picture.

    Returns:
        What the folder's config says of it: `test`, `short_side` and `long_side` (pixels), and `check`, the pictures
        and the numbers of `Difference`; or `left_out`, the reason why there is none.

    Raises:
        InputError: the detector was not trained or finds no objects alone.
    """
    weights, path = finished(spec), folder / ONNX
    set_threads(spec.preset)
    name = next((name for name, test in spec.experiment.tests.items() if is_one_look(test)), None)
    if name is None:
        merged = "resolutions, mirror images, valid ranges or soft-NMS"
        return {"left_out": f"every test of {spec.name} merges {merged}, and an ONNX file looks once at a picture"}
    data = DetectionSet(load_split(spec.manifest, "val"), spec.data.limit_val)
    detector = load_detector(spec.of_block(1), data.classes, torch.device("cpu"), weights)
    names = load_manifest(spec.manifest).category_names
    limits = side_limits(spec, spec.experiment.tests[name])
    notes = {"experiment": spec.name, "preset": spec.preset.name, "test": name, "classes": json.dumps(names)}
    try:
        write_onnx(detector, path, data.classes, notes)
    except (InputError, torch.onnx.OnnxExporterError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        return {"left_out": f"ONNX cannot express this {spec.experiment.detector} ({reason})"}
    pictures = [load_scaled(data, row, *limits)[0] for row in spread(data)]
    found = compare(detector, path, pictures, max(1, spec.preset.threads))
    if found.stray > STRAY * found.detections:
        path.unlink()
        return {
            "left_out": f"{found.stray} of its {found.detections} detections in ONNX Runtime differed from PyTorch's "
            f"by more than {TOLERANCE:g} (pixels and scores) on {len(pictures)} validation pictures"
        }
    check = {"pictures": len(pictures), **found._asdict(), "largest": float(f"{found.largest:.1e}")}
    return {"test": name, "short_side": limits[0], "long_side": limits[1], "check": check}


def is_one_look(test: Test) -> bool:
    """Tell whether a test detects in every picture once, at one resolution, with the detector's own suppression."""
    several = len(test.short_sides) > 1 or test.flip or bool(test.members)
    return not several and test.valid_ranges is None and test.merge == "nms"


def side_limits(spec: Spec, test: Test) -> tuple[float, float]:
    """Return the lengths in pixels of a picture's short side and, at most, of its long side."""
    return test.short_sides[0] * spec.preset.factor, test.long_sides[0] * spec.preset.factor


def write_onnx(detector: nn.Module, path: Path, classes: int, notes: dict[str, str] | None = None) -> None:
    """Write a detector as the ONNX file that this module describes; its bytes are reproducible.

    Args:
        detector: under torchvision's contract; it is not changed.
        path: of the file.
        classes: object categories, without the background.
        notes: text that is stored in the file.

    Raises:
        InputError: a layer that learns its scale (POD's GSL), which is no network to hand on.
    """
    import onnx

    with mock.patch.dict(export.DYNAMIC):
        export.DYNAMIC.pop(DeformableConv2d)  # samples of a grid that ONNX has, though no static dilation
        try:
            static = export.deployable(detector)
        except ValueError as error:
            raise InputError(f"{error}") from error
        network = OnePicture(static.cpu().float()).requires_grad_(False)
    file = io.BytesIO()
    example = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
    sizes = {"image": {1: "height", 2: "width"}} | {name: {0: "detections"} for name in OUTPUTS}
    with torch.no_grad(), traceable(max(classes, LEVELS)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constants in the trace, which the tests look for
        torch.onnx.export(
            network, (example,), file, dynamo=False, opset_version=OPSET, input_names=["image"],
            output_names=list(OUTPUTS), dynamic_axes=sizes,
        )  # fmt: skip
    proto = onnx.load_from_string(file.getvalue())
    for key, value in sorted((notes or {}).items()):
        proto.metadata_props.add(key=key, value=value)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))


def run_whole(path: Path, pictures: Sequence[Tensor], threads: int = 1) -> list[dict[str, Tensor]]:
    """Return what the file finds in pictures [3, H, W] in 0-1, in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = [session.run(list(OUTPUTS), {"image": picture.numpy()}) for picture in pictures]
    return [dict(zip(OUTPUTS, map(torch.from_numpy, values), strict=True)) for values in found]


@torch.inference_mode()
def compare(detector: nn.Module, path: Path, pictures: Sequence[Tensor], threads: int = 1) -> Difference:
    """Return how the file's detections differ from the detector's on pictures [3, H, W] in 0-1."""
    stray, largest, detections = 0, 0.0, 0
    for picture, theirs in zip(pictures, run_whole(path, pictures, threads), strict=True):
        for distances in nearest(detector([picture])[0], theirs):
            close = distances <= TOLERANCE
            detections, stray = detections + len(close), stray + int((~close).sum())
            largest = max([largest, *distances[close].tolist()])
    return Difference(detections, stray, largest)


def nearest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return how far every detection of either side is from the nearest of its label on the other: [D], [D'].

    The distance is the largest difference of a coordinate or of the score; it is infinite where there is no such label.
    """
    rows = [torch.cat([side["boxes"], side["scores"][:, None]], dim=1) for side in (ours, theirs)]
    apart = torch.cdist(*rows, p=torch.inf).masked_fill(ours["labels"][:, None] != theirs["labels"], torch.inf)
    apart = nn.functional.pad(apart, (0, 1, 0, 1), value=torch.inf)  # so that there is a least one of none
    return apart.amin(dim=1)[:-1], apart.amin(dim=0)[:-1]


def spread(data: DetectionSet) -> list[int]:
    """Return the rows of at most `PICTURES` pictures, from the tallest shape to the widest."""
    shapes = sorted(range(len(data)), key=lambda row: (data.size(row)[1] / data.size(row)[0], row))
    count = min(PICTURES, len(shapes))
    return [shapes[round(number * (len(shapes) - 1) / max(1, count - 1))] for number in range(count)]
