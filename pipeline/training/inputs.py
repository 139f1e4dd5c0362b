"""What a detector is given: the files that it starts from, learnt scales, and proposals of another network."""

import json
from pathlib import Path

from torch import Tensor

from pipeline import paths
from pipeline.data.detection_set import DetectionSet
from pipeline.data.proposals import read_proposals
from pipeline.errors import InputError, reading
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_weights


def give_proposals(data: DetectionSet, spec: Spec, split: str, source: str | None = None) -> list[Path]:
    """Attach to a data set the proposals that a region classifier needs, and return their files.

    Args:
        data: the images of `split`.
        spec: the classifier; any other detector reads no proposals.
        split: "train" or "val".
        source: experiment that made the proposals, if not the one that `spec` names.

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
    data.proposals = read_proposals(path, [entry["id"] for entry in data.entries], spec.block)
    return [path]


def read_inits(spec: Spec) -> tuple[list[Path], dict[str, Tensor], dict[str, str]]:
    """Return the files that a detector starts from, their tensors, and the metadata of the first file.

    The second body of a joint network has its own file, whose backbone becomes `backbone.second` (SNIP, section 7.3).
    """
    experiment = spec.experiment
    files = [paths.init(spec.preset.name, experiment.init)]
    tensors, metadata = load_weights(files[0], spec.block)
    if experiment.region is not None and experiment.region.second_init is not None:
        files.append(paths.init(spec.preset.name, experiment.region.second_init))
        body = "backbone.body."
        second = {
            name: tensor for name, tensor in load_weights(files[1], spec.block)[0].items() if name.startswith(body)
        }
        tensors |= {f"backbone.second.{name.removeprefix(body)}": tensor for name, tensor in second.items()}
    return files, tensors, metadata


def read_scales(metadata: dict[str, str]) -> dict[str, tuple[float, float]] | None:
    """Return the learnt scales in the metadata of a weights file, or None. Raises InputError where they are none."""
    if "scales" not in metadata:
        return None
    with reading("The header `scales` of a weights file", "delete that file and run its stage again"):
        scales = json.loads(metadata["scales"])
        return {name: (float(pair[0]), float(pair[1])) for name, pair in scales.items()}
