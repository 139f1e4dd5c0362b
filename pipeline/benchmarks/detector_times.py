"""Inference and training steps of whole detectors at the papers' size, timed in turn with those of their baselines.

`python -m pipeline.benchmarks.detector_times --device cpu` writes reports/benchmarks/cpu_detectors.{json,md} after each
group; with `--device cuda` they are gpu_detectors. `--kinds inference` or `--baselines NAME` repeats a part and keeps
the rest. The ratios appear in tables with times (POD's table 4, DST's tables 2 and 3) and on the page of methods.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from msgspec import structs

from pipeline import files
from pipeline.benchmarks.architectures import machine_kind
from pipeline.benchmarks.cases import numbers
from pipeline.benchmarks.command import PREFIX, command_line, prepare, report_file, run_command, write_report
from pipeline.benchmarks.networks import predict_scales
from pipeline.benchmarks.one_step import LEARNING_RATE, infer, infer_once, invent, settled_norms, train_once
from pipeline.benchmarks.pages.detector_times import detector_times_page
from pipeline.benchmarks.timing.rounds import Call, interleave, ratios
from pipeline.config import resolve
from pipeline.errors import InputError
from pipeline.models import build_detector
from pipeline.models.measure import printed_scales
from pipeline.spec import Spec
from pipeline.training.loop import build_optimizer
from pipeline.verdicts.networks import network
from pipeline.verdicts.times import Timed, key, seen_sides, wanted

PRECISION = {"inference": "fp32", "training": "bf16"}  # the papers' for inference, the pipeline's for training
CLASSES = 80


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Time every requested group, and write the JSON and the page after each; return the JSON's content."""
    machine, path, prefix = prepare(options), report_file(options, "detectors"), PREFIX[options.device]
    plan = groups()
    chosen = {(kind, base): part for (kind, base), part in plan.items() if kind in options.kinds.split(",")}
    if options.baselines:
        chosen = {(kind, base): part for (kind, base), part in chosen.items() if base in options.baselines.split(",")}
    if not chosen:
        known = ", ".join(dict.fromkeys(base for _, base in plan))
        raise InputError(
            f"--kinds and --baselines leave no detector to time; kinds are {', '.join(PRECISION)}, baselines {known}."
        )
    result: dict[str, Any] = {"prefix": prefix, "preset": options.preset, "machine": machine, "precision": PRECISION}
    left = plan.keys() - chosen.keys()
    result["rows"] = [row for row in earlier(path, result) if (row["kind"], row["baseline"]) in left]
    for (kind, base), part in chosen.items():
        result["rows"] += time_group(kind, base, part, options)
        write_report(path, result, detector_times_page)
        told = (f"{row['experiment']} {row['ratio']['median']:.3f}" for row in result["rows"][-len(part) :])
        print(f"{kind} beside {base}: {', '.join(told)}", file=sys.stderr, flush=True)
    return result


def earlier(path: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an earlier run, or none if it had another machine or preset: the page names one of each."""
    found = files.found_json(path)
    if found is None:
        return []
    same = [(machine_kind(one["machine"]), one["preset"]) for one in (found, result)]
    return found["rows"] if same[0] == same[1] else []


def groups() -> dict[tuple[str, str], list[str]]:
    """Return the detectors that are timed together by kind and baseline; equal baselines share a group."""
    found: dict[tuple[str, str], list[Timed]] = {}
    for one in wanted():
        found.setdefault((one.kind, one.baseline), []).append(one)
    return {place: [one.experiment for one in part] for place, part in found.items()}


class Detector:
    """One network on a device, which trains or detects on invented images of any size.

    Args:
        spec: of the first experiment with this network.
        device: "cpu" or "cuda".
    """

    def __init__(self, spec: Spec, device: str) -> None:
        torch.manual_seed(0)
        self.device = device
        scales = printed_scales(spec)
        model = build_detector(spec, CLASSES, scales)
        if spec.experiment.method.global_scale:
            method = structs.replace(spec.experiment.method, global_scale=False, decomposed=True)
            experiment = structs.replace(spec.experiment, method=method)
            predict_scales(model, printed_scales(structs.replace(spec, experiment=experiment)))
        self.model = model.to(device, memory_format=torch.channels_last)
        with settled_norms(self.model), torch.no_grad():
            infer(self.model, *invent(spec, device), spec)
        self.optimizer = build_optimizer(spec, self.model, LEARNING_RATE)

    def inference(self, spec: Spec) -> Call:
        """Return a call that detects on one image as the pipeline does, with suppression and score threshold."""
        images, targets = invent(spec, self.device)
        return lambda: infer_once(self.model, images, targets, spec, PRECISION["inference"])

    def training(self, spec: Spec) -> Call:
        """Return a call of one optimiser step on one image."""
        images, targets = invent(spec, self.device)
        return lambda: train_once(self.model, self.optimizer, images, targets, PRECISION["training"])


def time_group(kind: str, base: str, experiments: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row per experiment: its time, and its ratio to the baseline's time of the same round.

    Multi-scale training counts the mean of its steps at every side, because it draws sides with equal probability.
    """
    detectors: dict[str, Detector] = {}
    calls: dict[str, Call] = {}
    parts: dict[str, list[str]] = {}
    for name in (base, *experiments):
        spec = resolve(name, options.preset)
        # Equal networks are built once, and a side that several trainings draw is timed once.
        own = str(network(spec.experiment))
        if own not in detectors:
            detectors[own] = Detector(spec, options.device)
        drawn = spec.experiment.method.short_sides if kind == "training" else None
        parts[name] = []
        for side in seen_sides(spec.recipe, drawn or (spec.recipe.short_side,)):
            label = f"{list(detectors).index(own)}@{side}"
            parts[name].append(label)
            if label not in calls:
                calls[label] = getattr(detectors[own], kind)(at_side(spec, side))
    times = interleave(calls, 60 * options.minutes, options.device, least=options.rounds)
    means = {
        name: [statistics.fmean(round) for round in zip(*(times[one] for one in labels), strict=True)]
        for name, labels in parts.items()
    }
    return [
        {
            "kind": kind,
            "experiment": name,
            "baseline": base,
            "key": key(kind, name),
            "baseline_key": key(kind, base),
            "sides": [int(label.rpartition("@")[2]) for label in parts[name]],
            "ms": numbers([1000 * value for value in means[name]]),
            "baseline_ms": numbers([1000 * value for value in means[base]]),
            "ratio": numbers(ratios(means[name], means[base])),
            "rounds": len(means[base]),
        }
        for name in experiments
    ]


def at_side(spec: Spec, side: int) -> Spec:
    """Return a specification whose images have another short side and the shape of its recipe's images."""
    recipe = spec.recipe
    return structs.replace(
        spec,
        recipe=structs.replace(recipe, short_side=side, long_side=round(recipe.long_side * side / recipe.short_side)),
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = command_line(__doc__, preset="full", minutes=2.0, rounds=5, threads=0)
    found.add_argument("--kinds", default="inference,training", help="with a comma between them (default: both)")
    found.add_argument("--baselines", help="groups to time, by their baselines' names (default: all)")
    return found


if __name__ == "__main__":
    run_command(main, parser())
