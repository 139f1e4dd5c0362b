"""The detectors that `make compare` trains: what each is, what a user would have instead, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline import paths
from pipeline.evaluation.intervals import Estimate
from pipeline.files import found_json
from pipeline.verdicts.estimates import estimate_gain, estimate_level
from pipeline.verdicts.lengths import behind, images_seen
from pipeline.verdicts.results import Results

PASSES = 3  # forward passes that a training step costs


@dataclass(frozen=True)
class Kind:
    """A detector: its evaluation, and the one that its gain is over; without one it is a plain detector."""

    name: str
    evaluation: str
    baseline: str = ""

    @property
    def experiment(self) -> str:
        return paths.split_evaluation(self.evaluation)[0]

    @property
    def paper(self) -> str:
        return paths.paper_of(self.evaluation)

    @property
    def plain(self) -> bool:
        """Whether it has no method: longer training is none."""
        return not self.baseline or self.evaluation == LONGER


PLAIN, LONGER, DST = "pod_frcnn_r50_fpn_1x", "pod_frcnn_r50_fpn_2x", "dst_frcnn_r50_fpn_1x"
PROPOSED = f"{DST}_dst_proposed"  # exists in the folder of a comparison only: its threshold is the data's own
SNIP = "snip_drfcn_r50_7ep"
KINDS = (
    Kind("plain", PLAIN),
    Kind("plain, twice as long", LONGER, PLAIN),
    Kind("POD FD", f"{PLAIN}_fd", PLAIN),
    Kind("POD FD-WT", f"{PLAIN}_fd_wt", LONGER),  # two trainings stand behind it
    Kind("plain, DST's recipe", DST),
    Kind("multi-scale training", f"{DST}_ms_train_600_1000", DST),
    Kind("DST", f"{DST}_dst", DST),
    Kind("DST, threshold of this data", PROPOSED, DST),
    Kind("plain, MSFM's recipe", "msfm_frcnn_r50_fpn_1x"),
    Kind("MSFM", "msfm_frcnn_r50_fpn_1x_msfm", "msfm_frcnn_r50_fpn_1x"),
    Kind("plain, PSConv's recipe", "psconv_frcnn_r50_fpn_1x"),
    Kind("PSConv", "psconv_frcnn_r50_fpn_1x_psconv", "psconv_frcnn_r50_fpn_1x"),
    Kind("plain D-RFCN", f"{SNIP}_single_scale"),
    Kind("D-RFCN, three resolutions in the test", f"{SNIP}_single_scale__ms_test", f"{SNIP}_single_scale"),
    Kind("SNIP", f"{SNIP}_snip__ms_test", f"{SNIP}_single_scale"),
)


def kinds() -> list[Kind]:
    """Return the detectors whose experiments exist here."""
    return [kind for kind in KINDS if (paths.ROOT / paths.experiment_file(kind.experiment)).is_file()]


class ClassResults(Results):
    """Results of a preset with AP by class, and AP of sizes over the classes that have enough objects of them."""

    def metrics(self, evaluation: str) -> dict[str, Any] | None:
        return found_json(paths.metrics(self.name, paths.per_class_name(evaluation)))

    def bootstrap(self, evaluation: str) -> dict[str, Any] | None:
        return found_json(paths.bootstrap(self.name, paths.per_class_name(evaluation)))


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained detector."""

    kind: Kind
    results: ClassResults

    @property
    def name(self) -> str:
        return self.kind.name

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self.results.metrics(self.kind.evaluation)

    @cached_property
    def ap(self) -> Estimate:
        return self.level("ap")

    def level(self, metric: str) -> Estimate | None:
        """Return the estimate of a metric of its own, None where no class has enough objects."""
        return estimate_level(self.results, self.kind.evaluation, metric)

    def over(self, other: Detector, metric: str = "ap") -> Estimate | None:
        """Return the estimate of its gain over another detector."""
        return estimate_gain(self.results, self.kind.evaluation, other.kind.evaluation, metric)

    @cached_property
    def training(self) -> float | None:
        """Multiply-adds of all trainings behind it; None where one was not counted."""
        own, other = self.metrics["pixels"], self.metrics["pixels"].get("proposals")
        parts = [(name, own["training"]) for name in behind(self.kind.experiment)]
        parts += [(other["experiment"], other["training"])] if other else []
        each = [(images_seen(self.results, name), self._each(name, area)) for name, area in parts]
        return None if any(None in pair for pair in each) else sum(PASSES * seen * macs for seen, macs in each)

    @cached_property
    def inference(self) -> float | None:
        """Multiply-adds of a test of one image, with all its resolutions and the network that proposes regions."""
        own, other = self.metrics["pixels"], self.metrics["pixels"].get("proposals")
        parts = [self._each(self.kind.experiment, own["test"])]
        parts += [self._each(other["experiment"], other["test"])] if other else []
        return None if None in parts else sum(parts)

    def _each(self, experiment: str, area: float) -> float | None:
        """Return the multiply-adds of a network on an input of so many pixels."""
        size = self.results.size(experiment)
        return None if size is None else size["macs"] * area / (size["input"][0] * size["input"][1])


def trained(results: ClassResults) -> list[Detector]:
    """Return the detectors that were trained and scored."""
    found = [Detector(kind, results) for kind in kinds()]
    return [one for one in found if one.metrics and one.ap is not None]


def best_first(detectors: Sequence[Detector]) -> list[Detector]:
    """Return detectors by falling AP; of equal ones, the cheaper first."""
    return sorted(detectors, key=lambda one: (-one.ap.gain, *cost_of(one)))


def order_of(kind: Kind) -> int:
    """Return a detector's place among all, in which the plain one is the first."""
    return KINDS.index(kind)


def cost_of(detector: Detector) -> tuple[float, float]:
    """Return inference, then training; what was not counted is dear."""
    return tuple(float("inf") if part is None else part for part in (detector.inference, detector.training))
