"""Proposals of a trained region proposal network on all images, for the experiments that classify regions."""

from pipeline import paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.manifest import load_split
from pipeline.data.proposals import write_proposals
from pipeline.errors import InputError
from pipeline.prediction.detector import detect_levels, load_detector
from pipeline.spec import Spec
from pipeline.training.precision import pick_device, set_threads

TEST = "single"  # the test that proposals are made with, even where it has several resolutions


def propose(spec: Spec) -> None:
    """Propose regions in every training and validation image as the experiment's test does; write `paths.proposals`.

    Raises:
        InputError: the experiment is no region proposal network, or has no test `single`.
    """
    preset, tests = spec.preset, spec.experiment.tests
    if spec.experiment.detector != "d_rfcn_rpn":
        raise InputError(f"{spec.name} is a {spec.experiment.detector}; proposals come from a d_rfcn_rpn.")
    if TEST not in tests:
        raise InputError(f"{spec.name} proposes as its test {TEST!r} says and has only {sorted(tests)}; add it.")
    set_threads(preset)
    device = pick_device()
    limits = {"train": spec.data.limit_train, "val": spec.data.limit_val}
    for split, limit in limits.items():
        data = DetectionSet(load_split(spec.manifest, split), limit)
        numbers = [entry["id"] for entry in data.entries]
        first, *further = (
            detect_levels(load_detector(one, data.classes, device), data, one, tests[TEST], device)
            for one in spec.in_blocks()
        )
        file = paths.proposals(preset.name, spec.name, split)
        write_proposals(file, numbers, first, tests[TEST].short_sides, further)
