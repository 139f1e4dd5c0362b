"""Inference and training steps of whole detectors at the papers' size, timed in turn with those of their baselines.

`python -m pipeline.benchmarks.detector_times --device cpu` writes reports/benchmarks/cpu_detectors.{json,md} after each
group; with `--device cuda` they are gpu_detectors. `--kinds inference` or `--baselines NAME` repeats a part and keeps
the rest. The ratios appear in tables with times (POD's table 4, DST's tables 2 and 3) and on the page of methods.
"""

from __future__ import annotations

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
from pipeline.benchmarks.command import run_command
from pipeline.benchmarks.networks import predict_scales
from pipeline.benchmarks.one_step import LEARNING_RATE, infer, invent, settled_norms
from pipeline.benchmarks.pages.detector_times import detector_times_page
from pipeline.benchmarks.timing.machine import describe
from pipeline.benchmarks.timing.rounds import Call, interleave, ratios
from pipeline.config import Spec, resolve
from pipeline.errors import InputError
from pipeline.models import build_detector
from pipeline.models.measure import printed_scales
from pipeline.reporting.networks import network
from pipeline.reporting.times import FOLDER, Timed, key, wanted
from pipeline.training.loop import build_optimizer
from pipeline.training.precision import autocast

PREFIX = {"cpu": "cpu", "cuda": "gpu"}
PRECISION = {"inference": "fp32", "training": "bf16"}  # the papers' for inference, the pipeline's for training
CLASSES = 80


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Time every requested group, and write the JSON and the page after each; return the JSON's content."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, but torch sees no GPU here; use --device cpu, or a machine with one.")
    if options.rounds < 1:
        raise InputError(f"--rounds is {options.rounds}, but must be 1 or more; 5 give quartiles.")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    plan = groups()
    chosen = {(kind, base): part for (kind, base), part in plan.items() if kind in options.kinds.split(",")}
    if options.baselines:
        chosen = {(kind, base): part for (kind, base), part in chosen.items() if base in options.baselines.split(",")}
    if not chosen:
        known = ", ".join(dict.fromkeys(base for _, base in plan))
        raise InputError(
            f"--kinds and --baselines leave no detector to time; kinds are {', '.join(PRECISION)}, baselines {known}."
        )
    path = (options.output or FOLDER) / f"{PREFIX[options.device]}_detectors.json"
    machine, prefix = describe(options.device), PREFIX[options.device]
    result: dict[str, Any] = {"prefix": prefix, "preset": options.preset, "machine": machine, "precision": PRECISION}
    left = plan.keys() - chosen.keys()
    result["rows"] = [row for row in earlier(path, result) if (row["kind"], row["baseline"]) in left]
    for (kind, base), part in chosen.items():
        result["rows"] += time_group(kind, base, part, options)
        files.write_json(path, result)
        files.write_text(path.with_suffix(".md"), detector_times_page(result))
        print(f"{kind} beside {base}: {told(result['rows'][-len(part) :])}", file=sys.stderr, flush=True)
    return result


def earlier(path: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an earlier run, or none if it had another machine or preset: the page names one of each."""
    if not path.is_file():
        return []
    found = files.read_json(path)
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

        def call() -> None:
            with torch.inference_mode(), autocast(PRECISION["inference"], torch.device(self.device)):
                infer(self.model, images, targets, spec)

        return call

    def training(self, spec: Spec) -> Call:
        """Return a call of one optimiser step on one image."""
        images, targets = invent(spec, self.device)

        def call() -> None:
            self.model.train()
            with autocast(PRECISION["training"], torch.device(self.device)):
                losses = self.model(images, targets)
            sum(losses.values()).backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

        return call


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
        for side in drawn or (spec.recipe.short_side,):
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


def told(rows: list[dict[str, Any]]) -> str:
    """Return the ratios of some rows as one line of text."""
    return ", ".join(f"{row['experiment']} {row['ratio']['median']:.3f}" for row in rows)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--device", choices=tuple(PREFIX), default="cpu")
    found.add_argument("--kinds", default="inference,training", help="with a comma between them (default: both)")
    found.add_argument("--baselines", help="groups to time, by their baselines' names (default: all)")
    found.add_argument("--minutes", type=float, default=2.0, help="wanted length of a group's rounds together")
    found.add_argument("--rounds", type=int, default=5, help="made even where they take longer")
    found.add_argument("--threads", type=int, default=0, help="threads on a CPU (default: torch's own choice)")
    found.add_argument("--preset", default="full", help="size of networks and input")
    found.add_argument("--output", type=Path, help=f"folder (default: {FOLDER})")
    return found


if __name__ == "__main__":
    run_command(main, parser())
