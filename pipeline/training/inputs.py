"""What a detector is given: the files that it starts from, learnt scales, and proposals of another network."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from pipeline import paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.proposals import read_proposals
from pipeline.errors import InputError
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights


def give_proposals(data: DetectionSet, spec: Spec, split: str, source: str | None = None) -> list[Path]:
    """Give a data set the proposals that a classifier of regions is fed, and return the file that holds them.

    Args:
        data: the images of `split`.
        spec: the classifier, or any other detector, which reads none.
        split: "train" or "val".
        source: another experiment than the one whose proposals `spec` names.

    Raises:
        InputError: a classifier without proposals, or proposals of other data.
    """
    source = source or spec.experiment.proposals
    if source is None:
        if spec.experiment.detector == "d_rfcn_rcn":
            raise InputError(
                f"{spec.name} classifies regions and names none; write `proposals: EXPERIMENT` into its file."
            )
        return []
    path = paths.proposals(spec.preset.name, source, split)
    data.proposals = read_proposals(path, [entry["id"] for entry in data.entries])
    return [path]


def read_inits(spec: Spec) -> tuple[list[Path], dict[str, Tensor], dict[str, str]]:
    """Return the files that a detector starts from, their tensors, and the metadata of the first.

    The second body of a joint network has a file of its own, whose backbone goes below `backbone.second` (SNIP, 7.3).
    """
    experiment = spec.experiment
    files = [paths.init(spec.preset.name, experiment.init)]
    tensors, metadata = load_weights(files[0])
    if experiment.region is not None and experiment.region.second_init is not None:
        files.append(paths.init(spec.preset.name, experiment.region.second_init))
        body = "backbone.body."
        second = {name: tensor for name, tensor in load_weights(files[1])[0].items() if name.startswith(body)}
        tensors |= {f"backbone.second.{name.removeprefix(body)}": tensor for name, tensor in second.items()}
    return files, tensors, metadata


def read_scales(metadata: dict[str, str]) -> dict[str, tuple[float, float]] | None:
    """Return the learnt scales that a file of weights carries, or None."""
    if "scales" not in metadata:
        return None
    return {name: (pair[0], pair[1]) for name, pair in json.loads(metadata["scales"]).items()}
