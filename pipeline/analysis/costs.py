"""What one stage will cost: multiply-adds, images and bytes, from the specification of its experiment.

A GPU's time is multiply-adds divided by a rate, or that of the steps in `reports/benchmarks/gpu_architectures.json`.
"""

from __future__ import annotations

import hashlib
import operator
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from pipeline import paths
from pipeline.analysis.pyramid_inputs import expected_units
from pipeline.benchmarks.architectures import architecture
from pipeline.closure import Closure
from pipeline.data.manifest import load_manifest
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.models import build_classifier, build_detector
from pipeline.models.measure import CLASSES, classifier_input, count, on_meta, parameters, printed_scales
from pipeline.preset import Preset
from pipeline.spec import Spec, epoch_steps
from pipeline.training.epochs import training_length

PASSES = 3  # a training step's backward pass costs twice its forward pass
STRIDE = 32  # sides are multiples of the deepest stride, so that multiply-adds grow with the area
ASPECT = 4 / 3  # of most of COCO's and VOC's photographs
MOST, FEWER = 1000, 500  # proposals of the two counts whose difference is the cost of regions
REGIONS = 300  # regions per image of a region classifier
OFFICIAL = {
    "coco": {"train": 118_287, "val": 5_000},
    "voc": {"train": 16_551, "val": 4_952},
    "imagenet": {"train": 1_281_167, "val": 50_000},
    "cifar100": {"train": 50_000, "val": 10_000},
}


@dataclass(frozen=True)
class Network:
    """Parameters of a network, and its multiply-adds for each input pixel and for each region."""

    a_pixel: float
    a_region: float
    parameters: int

    def macs(self, area: float, regions: int) -> float:
        """Return the multiply-adds of one image."""
        return self.a_pixel * area + self.a_region * regions


@dataclass
class Rates:
    """How fast a GPU is: an assumption, and measurements by network."""

    tflops: float
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    gpu: str = ""
    peaks: dict[str, float] = field(default_factory=dict)  # bytes of a training step of one image, by network or family
    loading: dict[str, float] = field(default_factory=dict)  # seconds of one processor an image, a collage, a decoding

    def seconds(self, spec: Spec, kind: str, images: float, macs: float, area: float) -> tuple[float, bool]:
        """Return the GPU seconds for a number of images, and whether they come from a measurement.

        Args:
            kind: `training` or `inference`.
            macs: forward multiply-adds of one image.
            area: input pixels of one image; a measured image has the recipe's largest input.
        """
        row = self.measured.get(key_of(spec))
        if row is not None:
            largest = float(row["input"][0] * row["input"][1])
            each = row["found"][kind]["seconds"] / (2 if spec.experiment.detector == "classifier" else 1)
            return images * each * area / largest, True
        passes = PASSES if kind == "training" else 1
        return images * 2 * macs * passes / (self.tflops * 1e12), False

    def loading_seconds(self, spec: Spec, kind: str) -> float:
        """Return the seconds in which one processor prepares one input of a network; 0 where that was not measured.

        A classifier's image is decoded and cut small. A training with collages draws them in half of its steps, which
        is an assumption.
        """
        if not self.loading:
            return 0.0
        if spec.experiment.detector == "classifier":
            return self.loading["decoded"]
        if kind == "training" and spec.experiment.method.collage is not None:
            return (self.loading["regular"] + self.loading["collage"]) / 2
        return self.loading["regular"]


def loading_from(benchmark: dict[str, Any] | None) -> dict[str, float]:
    """Return the seconds of one processor by what it loads, from the benchmark of loading; none without one."""
    if benchmark is None:
        return {}
    inputs = {kind: 1 / found["median"] for kind, found in benchmark["loaded_per_worker"].items()}
    return inputs | {"decoded": benchmark["parts_ms"]["decode"] / 1000}


def rates_from(tflops: float, benchmark: dict[str, Any] | None) -> Rates:
    """Return rates from an assumption and, if given, the architectures benchmark of a GPU.

    With a benchmark, networks that were not measured run at the median rate of those that were.
    """
    rows = [row for row in (benchmark or {}).get("rows", ()) if "found" in row]
    measured = {key_from(row): row for row in rows}
    gpu = (benchmark or {}).get("machine", {}).get("gpu", "") if rows else ""
    return Rates(tflops, measured, gpu)


def peaks_from(*benchmarks: dict[str, Any] | None) -> dict[str, float]:
    """Return the peak bytes of the tensors in a training step of one image, by network and by family.

    Tensors take the same memory on a CPU. A family (detector and neck) has the peak of its largest measured network.
    Earlier benchmarks take precedence.
    """
    found: dict[str, float] = {}
    for benchmark in reversed(benchmarks):
        for row in (benchmark or {}).get("rows", ()):
            if "found" in row and row["detector"] != "classifier":
                peak = row["found"]["training"]["peak_mib"] * 2.0**20
                found[key_from(row)] = peak
                family = family_of(row["detector"], row["neck"])
                found[family] = max(found.get(family, 0.0), peak)
    return found


def family_of(detector: str, neck: str) -> str:
    """Return the name of a family, whose networks take about the same memory."""
    return f"{detector}/{neck}"


def key_of(spec: Spec) -> str:
    """Return a key that is equal for experiments whose networks cost the same."""
    return key_from(architecture(spec))


def key_from(network: dict[str, Any]) -> str:
    names = ("detector", "backbone", "neck", "stem", "layers", "region", "rpn", "resolution", "input")
    return repr([plain(network.get(name)) for name in names])


def plain(value: Any) -> Any:
    """Return a value in a form in which lists equal tuples and the order of keys does not matter."""
    if isinstance(value, dict):
        return {name: plain(value[name]) for name in sorted(value)}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def median_tflops(specs: Iterable[Spec], network_of: Callable[[Spec], Network], rates: Rates) -> float | None:
    """Return the median rate of the measured training steps, None where there are none."""
    found = []
    for spec in specs:
        row = rates.measured.get(key_of(spec))
        if row is not None:
            area = float(row["input"][0] * row["input"][1])
            macs = network_of(spec).macs(area, regions(spec, "training"))
            each = row["found"]["training"]["seconds"] / (2 if spec.experiment.detector == "classifier" else 1)
            found.append(2 * macs * PASSES / each / 1e12)
    return statistics.median(found) if found else None


def count_network(spec: Spec) -> Network:
    """Count a network on the meta device: no data, no weights, no memory."""
    experiment = spec.experiment
    with on_meta():
        if experiment.detector == "classifier":
            model = build_classifier(spec, CLASSES.get(experiment.dataset, 1000)).eval()
            size = classifier_input(spec)
            macs = count(lambda: model(torch.empty(1, 3, *size, device="meta")))
            return Network(macs / (size[0] * size[1]), 0.0, parameters(model))
        model = build_detector(spec, CLASSES.get(experiment.dataset, 80), printed_scales(spec)).eval()
    height, width = (max(STRIDE * 4, round(side * spec.preset.factor / STRIDE) * STRIDE) for side in (800, 1344))
    image = torch.empty(1, 3, height, width, device="meta")
    most, fewer = (count(lambda number=number: model.dense_parts(image, number)) for number in (MOST, FEWER))
    a_region = (most - fewer) / (MOST - FEWER)
    return Network((most - a_region * MOST) / (height * width), a_region, parameters(model))


def regions(spec: Spec, kind: str) -> int:
    """Return the number of regions per image that a detector classifies."""
    size, experiment = spec.preset.model, spec.experiment
    if experiment.detector == "d_rfcn_rcn":
        return REGIONS
    if kind == "inference":
        return size.rpn_post_nms_test
    return size.c4_roi_batch if experiment.neck == "c4" else size.roi_batch


def area_of(preset: Preset, short: float, long: float) -> float:
    """Return the input pixels of a 4:3 photograph with the short side `short`, but a long side of at most `long`."""
    scale = min(short, long / ASPECT) * preset.factor
    return scale * scale * ASPECT


def training_area(spec: Spec) -> float:
    """Return the mean pixels of a training input; a pyramid's levels count by their units, drawn sides equally."""
    preset, recipe, experiment = spec.preset, spec.recipe, spec.experiment
    if experiment.detector == "classifier":
        side, _ = classifier_input(spec)
        return float(side * side)
    if experiment.pyramid:
        whole = [area_of(preset, level.short_side, level.long_side) for level in experiment.pyramid]
        chips = [
            (level.chip_size * preset.factor) ** 2 if level.chip_size else area
            for level, area in zip(experiment.pyramid, whole, strict=True)
        ]
        units = expected_units(spec)
        start = experiment.method.snip.starts_after if units.ranged else 1.0
        weights = [*(start * one for one in units.plain), *((1 - start) * one for one in units.ranged)]
        areas = [*whole, *chips[: len(units.ranged)]]
        return sum(map(operator.mul, weights, areas)) / sum(weights)
    areas = [area_of(preset, s, recipe.long_side) for s in experiment.method.short_sides or (recipe.short_side,)]
    return statistics.fmean(areas)


def test_areas(spec: Spec, test: str) -> list[float]:
    """Return the input pixels of each time that a test looks at an image: resolutions, mirror images, networks."""
    options = spec.experiment.tests[test]
    areas = [
        area_of(spec.preset, short, long) for short, long in zip(options.short_sides, options.long_sides, strict=True)
    ]
    return areas * ((2 if options.flip else 1) * (1 + len(options.members)))


def images(spec: Spec, split: str) -> int:
    """Return the number of a split's images: verified, made by the preset, or stated by the data set's publisher.

    Raises:
        InputError: a preset with its own data, which was not verified yet.
    """
    preset, dataset = spec.preset, spec.experiment.dataset
    if dataset in ("imagenet", "cifar100"):
        if dataset in (preset.labelled or {}):
            return OFFICIAL[dataset][split]
        return preset.training.pretrain_images
    data = spec.data
    if (paths.ROOT / spec.manifest).is_file():
        found = load_manifest(paths.ROOT / spec.manifest).splits[split]["images"]
    elif data.kind == "scaleworld":
        found = data.train_images if split == "train" else data.val_images
    elif preset.name == "full":
        found = OFFICIAL[dataset][split]
    else:
        raise InputError(f"The plan of preset {preset.name} needs to know its images; run verify first.")
    limit = data.limit_train if split == "train" else data.limit_val
    return found if limit is None else min(found, limit)


def training_images(spec: Spec) -> float:
    """Return the number of network inputs that a training sees, over all seeds of a classifier."""
    training, experiment = spec.preset.training, spec.experiment
    if experiment.detector != "classifier":
        length = training_length(spec, images(spec, "train"), expected_units(spec))
        return float(length.steps * spec.effective_batch)
    seeds = min(experiment.seeds, training.pretrain_seeds or experiment.seeds)
    if training.pretrain_steps is not None:
        return float(training.pretrain_steps * (training.pretrain_batch or spec.recipe.batch) * seeds)
    return epoch_steps(spec, images(spec, "train")) * float(spec.batch) * seeds


class Counted:
    """Counts of networks, kept on disk for the same code because counting all takes minutes."""

    def __init__(self, folder: Path = Path("data/scratch/networks")) -> None:
        self.path = folder / f"{Closure(paths.ROOT).digest('pipeline.models.measure')[:16]}.json"
        self.known: dict[str, Any] = read_json(self.path) if self.path.is_file() else {}

    def of(self, spec: Spec) -> Network:
        """Return a network's counts."""
        size = msgspec.json.encode([spec.preset.model, spec.preset.factor, spec.preset.training.pretrain_size]).decode()
        key = hashlib.sha256(f"{key_of(spec)}/{spec.experiment.dataset}/{size}".encode()).hexdigest()[:16]
        if key not in self.known:
            self.known[key] = asdict(count_network(spec))
            write_json(self.path, self.known)
        return Network(**self.known[key])
