"""PS-ResNeXt-29 against ResNeXt-29 on real 32-pixel images, with several seeds (PSConv, table 6, narrower networks).

`python -m pipeline.benchmarks.cifar --preset cifar100_subset` trains both networks with each seed, one pair after the
other, and writes `reports/<preset>/cifar.{md,json}` and a figure after every pair. Finished runs are kept in
`data/scratch`, so an interrupted benchmark continues when it is started again.
"""

import argparse
import csv
import hashlib
import io
import sys
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.benchmarks.pages.cifar import write_report
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.spec import Spec

BASE, OTHER = "psconv_cls_x29_8x64d_300ep", "psconv_cls_x29_8x64d_300ep_psconv"


def main(options: argparse.Namespace) -> None:
    from pipeline.training.classification.data import read_labelled
    from pipeline.training.classification.pretraining import seeded

    specs = {name: config.resolve(name, options.preset) for name in (BASE, OTHER)}
    source = specs[BASE].labelled
    if source is None:
        raise InputError(
            f"Preset {options.preset} has no `labelled: cifar100` images to train on; take preset cifar100_subset."
        )
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}, but at least 1 is needed; a difference needs 2 or more.")
    data = read_labelled(source)
    runs: dict[str, list[dict[str, Any]]] = {BASE: [], OTHER: []}
    for number in range(options.seeds):
        for name, spec in specs.items():
            runs[name].append(one_run(seeded(spec, number), data))
        write_report(specs[BASE].preset, BASE, OTHER, runs)


def one_run(spec: Spec, data: tuple[Any, Any]) -> dict[str, Any]:
    """Train one network with one seed, or return the kept result of an earlier start of the benchmark."""
    import torch

    from pipeline.code_digest import experiment_digest
    from pipeline.models import build_classifier
    from pipeline.training.checkpoint import Checkpoints
    from pipeline.training.classification.pretraining import train_once
    from pipeline.training.distributed import ALONE

    key = "/".join([experiment_digest("pretrain", spec), *(split.digest for split in data), torch.__version__])
    kept = Path("data/scratch/cifar") / f"{spec.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if kept.is_file():
        return read_json(kept)
    trained = train_once(spec, data, ALONE)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_classifier(spec, len(data[0].classes)).parameters())
    history = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(io.StringIO(trained.history))]
    found = {**trained.summary, "parameters": parameters, "history": history}
    write_json(kept, found)
    Checkpoints(trained.scratch).remove()
    print(
        f"{spec.name} seed {spec.preset.seed}: top-1 error {100 * found['top1_error_last']:.1f} % on test images, "
        f"{100 * found['train_top1_error_last']:.1f} % on the last training batches",
        file=sys.stderr,
        flush=True,
    )
    return found


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
