"""Training images per second of the pipeline's Faster R-CNN R50-FPN, against a plain loop around torchvision's.

`python -m pipeline.benchmarks.throughput --device cpu --minutes 5` writes reports/benchmarks/cpu_throughput.json and
.md; with `--device cuda` they are gpu_throughput, and with `--preset mini` cpu_throughput_mini: both networks are as
narrow as that preset's. Rounds alternate between the loops, and a ratio is that of one round.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.benchmarks.cases import numbers
from pipeline.benchmarks.command import command_line, prepare, report_file, run_command, write_report
from pipeline.benchmarks.pages.throughput import throughput_page
from pipeline.benchmarks.timing.profiles import operator_shares
from pipeline.benchmarks.timing.rounds import interleave, ratios
from pipeline.benchmarks.training_loops import PARTS, Loop, Ours, Plain, write_images

LIMIT = {"cpu": 1.0, "cuda": 1.2}  # least ratio to reach
SMALL_LIMIT = 1.15  # at a smaller preset, where less of a step is the same convolutions
# One image keeps a CPU's step short; a sample of a GPU is long enough for loaders to matter.
DEFAULTS = {
    "cpu": {"batch": 1, "workers": 0, "steps": 1, "precision": "fp32"},
    "cuda": {"batch": 16, "workers": 12, "steps": 20, "precision": "bf16"},
}
SMALL = {"batch": 4, "steps": 5}  # on a CPU at a smaller preset, whose steps are short
ROUNDS_OF_PARTS = {"cpu": 1, "cuda": 10}
OPERATORS = 12
JPEGS = 16


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run both loops in turn, and write the JSON and the page; return the JSON's content."""
    machine = prepare(options)
    full = options.preset == "full"
    defaults = DEFAULTS[options.device] | (SMALL if options.device == "cpu" and not full else {})
    settings = {
        name: default if getattr(options, name) is None else getattr(options, name)
        for name, default in defaults.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        split = write_images(Path(folder), JPEGS, config.load_preset(options.preset).factor)
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
            "limit": LIMIT[options.device] if full else SMALL_LIMIT,
            "losses": {
                name: {key: round(value, 4) for key, value in loop.losses.items()} for name, loop in loops.items()
            },
            "parts": {name: parts(loop, ROUNDS_OF_PARTS[options.device]) for name, loop in loops.items()},
            "operators": {
                name: operator_shares(loop, options.device, OPERATORS, calls=1) for name, loop in loops.items()
            },
        }
    name = "throughput" if full else f"throughput_{options.preset}"
    return write_report(report_file(options, name), result, throughput_page)


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
    # What is left out is the device's own in DEFAULTS.
    found = command_line(
        __doc__, preset="full", minutes=5.0, rounds=3, batch=None, workers=None, precision=None, threads=0
    )
    found.add_argument("--steps", type=int, help="steps a sample (default: 1, 5 at a smaller preset, 20 on a GPU)")
    return found


if __name__ == "__main__":
    run_command(main, parser())
