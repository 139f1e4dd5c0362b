"""Which runs of the noise benchmark are finished, so that an interrupted benchmark continues."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.closure import Closure
from pipeline.code_digest import experiment_digest
from pipeline.files import read_json, sha256, write_json
from pipeline.spec import Spec

STAGES = ("pretrain", "train", "predict", "evaluate")


def run_signature(specs: Sequence[Spec]) -> str:
    """Return a hash of what determines a run: options, seed, code, data, and the weights and proposals it needs.

    Args:
        specs: what the run trains, in order; weights that it makes itself are no input.
    """
    closure = Closure(paths.ROOT)
    preset, own = specs[-1].preset, {spec.name for spec in specs}
    given = specs[-1].experiment.proposals
    region = specs[-1].experiment.region
    starts = [specs[-1].experiment.init, *([region.second_init] if region and region.second_init else [])]
    inputs = [specs[-1].manifest, *(paths.init(preset.name, name) for name in starts if name not in own)]
    if given:
        inputs += [paths.proposals(preset.name, given, split) for split in ("train", "val")]
    parts = [experiment_digest(stage, spec, closure=closure) for spec in specs for stage in STAGES]
    parts += [version("torch")] + [sha256(path) if path.is_file() else "none" for path in inputs]
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def finished(folder: Path, signature: str, metrics: Path) -> dict[str, Any] | None:
    """Return the metrics of a run that finished with this signature, None where it must still run."""
    mark = folder / "done.json"
    if not mark.is_file() or not metrics.is_file() or read_json(mark).get("signature") != signature:
        return None
    return read_json(metrics)


def finish(folder: Path, signature: str) -> None:
    """Remember that a run finished."""
    write_json(folder / "done.json", {"signature": signature})
