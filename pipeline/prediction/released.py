"""A released detector, loaded from its folder or from Hugging Face's hub, that detects in any pictures.

torch.hub finds the same function in hubconf.py: `torch.hub.load(REPOSITORY, "detector", FOLDER)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data.pixels import LEVELS, as_rgb
from pipeline.data.upright import upright
from pipeline.errors import InputError, nearest, reading
from pipeline.files import read_json
from pipeline.parts import load as load_part
from pipeline.prediction.detector import Detections, detect_levels, load_detect, merge, suppression_of
from pipeline.prediction.release import CONFIG, WEIGHTS
from pipeline.spec import Spec

Picture = str | Path | np.ndarray | Tensor


def load(place: str | Path, test: str | None = None, device: str | torch.device = "cpu") -> Detector:
    """Return a released detector.

    Args:
        place: the folder that `python -m pipeline.stages.export NAME --folder FOLDER` wrote, or `USER/NAME` of Hugging
            Face's hub that holds the same.
        test: one of the experiment's tests, which says resolutions, mirror images and merging; by default its first.
        device: that it runs on.

    Raises:
        InputError: no such folder, hub entry or test, or a folder that holds something else.
    """
    folder = Path(place) if Path(place).is_dir() else downloaded(str(place))
    with reading(folder / CONFIG, "release the detector anew"):
        content = read_json(folder / CONFIG)
        spec, classes = msgspec.convert(content["spec"], Spec), tuple(content["classes"])
        levels, by_test = float(content.get("levels", LEVELS)), dict(content.get("thresholds", {}))
    tests = spec.experiment.tests
    test = next(iter(tests)) if test is None else test
    if test not in tests:
        raise InputError(f"{spec.name} has no test {test!r}{nearest(test, tests)}; it has {sorted(tests)}.")
    with reading(folder / CONFIG, "release the detector anew"):
        thresholds = {name: float(score) for name, score in by_test.get(test, {}).items()}
    return Detector(spec, test, classes, folder / WEIGHTS, torch.device(device), levels, thresholds)


def downloaded(name: str) -> Path:
    """Return the folder of a detector of Hugging Face's hub, once it is here."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InputError(
            f"{name} is no folder, and the package that asks Hugging Face's hub is missing; pip install "
            "huggingface_hub, or correct the name of the folder."
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # of a server, a network, a name
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name} is no folder, and Hugging Face's hub does not give it ({reason}); correct it."
        ) from error


class Detector:
    """A detector that takes pictures of any size.

    Attributes:
        classes: names of the labels 1, 2, ...
        detect: the network, under torchvision's contract at its own resolution.
        levels: how many grey levels of 16-bit and float files become 256, as in training.
        thresholds: by class the score of the best F1 on the validation pictures, of classes that have one.
    """

    def __init__(
        self,
        spec: Spec,
        test: str,
        classes: tuple[str, ...],
        weights: Path,
        device: torch.device,
        levels: float = LEVELS,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self.spec, self.options, self.classes, self.device = spec, spec.experiment.tests[test], classes, device
        self.levels, self.thresholds = levels, dict(thresholds or {})
        self.detect = load_detect(spec, self.options, len(classes), device, weights)

    def __call__(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """Return the detections of every picture, as the stage `predict` has them.

        Args:
            pictures: files, uint8 arrays [H, W, 3] or uint8 tensors [3, H, W], all RGB.

        Returns:
            For each `boxes` [D, 4] xyxy in the picture's pixels, `scores` [D], `labels` [D] from 1, `names`, and of
            detectors that have them `masks` (uint8 [D, H, W]); best first.
        """
        data = Pictures(pictures, self.levels, self.spec.preset.data.exif != "stored")
        return [self.named(found, data.size(row)) for row, found in enumerate(self.merged(data))]

    def merged(self, data: Any) -> list[Detections]:
        """Return the detections of every picture of what stands in the place of a `DetectionSet`."""
        levels = detect_levels(self.detect, data, self.spec, self.options, self.device, one_by_one)
        return [
            merge([level[row] for level in levels], self.options, self.spec.preset, suppression_of(self.spec))
            for row in range(len(data))
        ]

    def named(self, found: Detections, size: tuple[int, int]) -> dict[str, Any]:
        """Return detections with the names of their classes, and with masks of the whole picture."""
        result: dict[str, Any] = {name: value for name, value in found.items() if name != "mask_probs"}
        if "mask_probs" in found:
            codes = load_part("mask_results").encode_masks(found["mask_probs"], found["boxes"], size)
            masks = load_part("masks").decode([code["counts"] for code in codes], *size)
            result["masks"] = torch.from_numpy(masks)
        return result | {"names": [self.classes[label - 1] for label in found["labels"].tolist()]}


class Pictures:
    """Pictures in memory, in the place of a `DetectionSet`."""

    proposals = None

    def __init__(self, pictures: Sequence[Picture], levels: float = LEVELS, turn: bool = True) -> None:
        self.images = [pixels(picture, levels, turn) for picture in pictures]
        self.boxes = [torch.zeros(0, 4)] * len(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, row: int) -> Tensor:
        """Return picture `row` as uint8 [3, H, W]."""
        return self.images[row]

    def size(self, row: int) -> tuple[int, int]:
        """Return (height, width)."""
        height, width = self.images[row].shape[-2:]
        return height, width


def pixels(picture: Picture, levels: float = LEVELS, turn: bool = True) -> Tensor:
    """Return a picture as RGB uint8 [3, H, W], a file's upright (`turn`); raise InputError where it is none."""
    if isinstance(picture, str | Path):
        try:
            with Image.open(picture) as image:
                picture = np.array(as_rgb(upright(image) if turn else image, levels))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"Picture {picture} cannot be read ({error}); give another file.") from error
    if isinstance(picture, np.ndarray):
        picture = torch.from_numpy(picture).permute(2, 0, 1) if picture.ndim == 3 else torch.zeros(0)
    if picture.ndim != 3 or picture.shape[0] != 3 or picture.dtype != torch.uint8:
        raise InputError("A picture must be a file, an array [H, W, 3] or a tensor [3, H, W], RGB of type uint8.")
    return picture.contiguous()


def one_by_one(batches: Dataset, numbers: range) -> Iterator[Any]:
    """Load batches in this process: pictures are in memory already."""
    return (batches[number] for number in numbers)
