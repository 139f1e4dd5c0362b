"""Training images per second of the pipeline's Faster R-CNN R50-FPN, against a plain loop around torchvision's.

`python -m pipeline.benchmarks.throughput --device cpu --minutes 5` writes reports/benchmarks/cpu_throughput.json and
.md; with `--device cuda` they are gpu_throughput. Rounds alternate between the loops, and a ratio is that of one round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline import files
from pipeline.benchmarks.cases import numbers
from pipeline.benchmarks.command import run_command
from pipeline.benchmarks.pages.throughput import throughput_page
from pipeline.benchmarks.timing.machine import describe
from pipeline.benchmarks.timing.profiles import operator_shares
from pipeline.benchmarks.timing.rounds import interleave, ratios
from pipeline.benchmarks.training_loops import PARTS, Loop, Ours, Plain, write_images
from pipeline.errors import InputError

FOLDER = Path("reports/benchmarks")
PREFIX = {"cpu": "cpu", "cuda": "gpu"}
LIMIT = {"cpu": 1.0, "cuda": 1.2}  # least ratio to reach
# One image keeps a CPU's step short; a sample of a GPU is long enough for loaders to matter.
DEFAULTS = {
    "cpu": {"batch": 1, "workers": 0, "steps": 1, "precision": "fp32"},
    "cuda": {"batch": 16, "workers": 12, "steps": 20, "precision": "bf16"},
}
ROUNDS_OF_PARTS = {"cpu": 1, "cuda": 10}
OPERATORS = 12
JPEGS = 16


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run both loops in turn, and write the JSON and the page; return the JSON's content."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, but torch sees no GPU here; use --device cpu, or a machine with one.")
    if options.minutes <= 0:
        raise InputError(f"--minutes is {options.minutes}, but must be positive; 5 on a CPU, 4 on a GPU.")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    settings = {
        name: default if getattr(options, name) is None else getattr(options, name)
        for name, default in DEFAULTS[options.device].items()
    }
    machine = describe(options.device)
    with tempfile.TemporaryDirectory() as folder:
        split = write_images(Path(folder), JPEGS, options.factor)
        how = (split, settings["batch"], settings["workers"], options.device, settings["precision"], options.preset)
        loops: dict[str, Loop] = {"torchvision": Plain(*how), "ours": Ours(*how)}
        calls = {name: repeated(loop, settings["steps"]) for name, loop in loops.items()}
        times = interleave(calls, 60 * options.minutes, options.device, least=options.rounds)
        images = settings["batch"] * settings["steps"]
        result = {
            "device": options.device,
            "preset": options.preset,
            "machine": machine,
            "settings": settings | {"rounds": len(times["ours"])},
            "images_per_second": {name: numbers([images / value for value in found]) for name, found in times.items()},
            "ratio": numbers(ratios(times["torchvision"], times["ours"])),
            "limit": LIMIT[options.device],
            "losses": {
                name: {key: round(value, 4) for key, value in loop.losses.items()} for name, loop in loops.items()
            },
            "parts": {name: parts(loop, ROUNDS_OF_PARTS[options.device]) for name, loop in loops.items()},
            "operators": {
                name: operator_shares(loop, options.device, OPERATORS, calls=1) for name, loop in loops.items()
            },
        }
    path = (options.output or FOLDER) / f"{PREFIX[options.device]}_throughput.json"
    files.write_json(path, result)
    files.write_text(path.with_suffix(".md"), throughput_page(result))
    return result


def repeated(loop: Loop, steps: int) -> Any:
    """Return a call that makes `steps` steps."""

    def call() -> None:
        for _ in range(steps):
            loop()

    return call


def parts(loop: Loop, rounds: int) -> dict[str, float]:
    """Return the median seconds of each part of a step; their sum is more than a step because parts wait for a GPU."""
    loop.split = True
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        loop()
        found.append(dict(loop.seconds))
    loop.split = False
    return medians(found)


def medians(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each part over steps."""
    return {part: round(statistics.median(one[part] for one in found), 4) for part in PARTS}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--device", choices=tuple(PREFIX), default="cpu")
    found.add_argument("--minutes", type=float, default=5.0, help="wanted length of the rounds together")
    found.add_argument("--rounds", type=int, default=3, help="made even where they take longer")
    found.add_argument("--batch", type=int, help="images a step (default: 1 on a CPU, 16 on a GPU)")
    found.add_argument("--workers", type=int, help="loading processes of each loop (default: 0, 12)")
    found.add_argument("--steps", type=int, help="steps a sample (default: 1, 20)")
    found.add_argument("--precision", choices=("fp32", "bf16"), help="default: fp32 on a CPU, bf16 on a GPU")
    found.add_argument("--threads", type=int, default=0, help="threads on a CPU (default: torch's own choice)")
    found.add_argument("--preset", default="full", help="size of the pipeline's network and of both inputs")
    found.add_argument("--factor", type=float, default=1.0, help="of the images' 640x480 pixels")
    found.add_argument("--output", type=Path, help=f"folder (default: {FOLDER})")
    return found


if __name__ == "__main__":
    run_command(main, parser())
