"""Effective dilations of a trained deformable detector over images, measured in the same way as learnt scales."""

import torch
from torchvision.models.detection.image_list import ImageList

from pipeline import paths
from pipeline.analysis.offsets import OffsetStatistics, watching
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.models import build_detector
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_trained, load_weights
from pipeline.training.global_scales import block_name
from pipeline.training.inputs import read_scales
from pipeline.training.precision import autocast, choose_precision, pick_device, set_threads
from pipeline.training.visiting import visits


@torch.inference_mode()
def measure_offsets(spec: Spec) -> None:
    """Measure the spread of a trained deformable network's offsets over training and validation images.

    Write the mean and standard deviation of the effective dilation by layer, axis and object size to `paths.offsets`.

    Raises:
        InputError: an experiment without deformable convolutions.
    """
    preset = spec.preset
    if spec.experiment.method.deformable is None:
        raise InputError(
            f"{spec.name} has no deformable convolution; name an experiment whose method has `deformable`."
        )
    set_threads(preset)
    device = pick_device()
    file = paths.weights(preset.name, spec.name)
    tensors, metadata = load_weights(file)
    limits = {"train": spec.data.limit_train, "val": spec.data.limit_val}
    precision = choose_precision(preset, device)
    found = {}
    for split, limit in limits.items():
        data = DetectionSet(load_split(spec.manifest, split), limit)
        model = build_detector(spec, data.classes, read_scales(metadata))
        load_trained(model, tensors, file)
        model = model.to(device, memory_format=torch.channels_last).eval()
        sizes: list[tuple[int, int]] = []
        model.transform.register_forward_hook(lambda _m, _i, out, kept=sizes: kept.append(padded_size(out[0])))
        statistics = OffsetStatistics((32 * preset.factor) ** 2, (96 * preset.factor) ** 2)
        count = preset.training.scale_images
        for visit in visits(spec, data, count, f"{spec.name} offsets, {split}", device):
            with watching(model) as grids, autocast(precision, device):
                model(visit.images)
            statistics.add(grids, sizes[-1], visit.boxes)
        layers = {block_name(name): groups for name, groups in statistics.summary().items()}
        found[split] = {"images": min(count, len(data)), "layers": layers}
    spreads = [layer["all"]["std"] / layer["all"]["mean"] for layer in found["train"]["layers"].values()]
    write_json(
        paths.offsets(preset.name, spec.name),
        {
            "experiment": spec.name,
            "images": found["train"]["images"],
            "largest_spread": round(max(spreads), 6),
            "layers": found["train"]["layers"],
            "val": found["val"],
        },
    )


def padded_size(images: ImageList) -> tuple[int, int]:
    """Return the (h, w) of a padded batch."""
    return images.tensors.shape[-2], images.tensors.shape[-1]
