"""The command line that benchmarks of a machine share: their options, what they run on, where their reports go."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline import files
from pipeline.benchmarks.timing.machine import describe
from pipeline.errors import InputError
from pipeline.verdicts.times import FOLDER

T = TypeVar("T")
PREFIX = {"cpu": "cpu", "cuda": "gpu"}
OPTIONS: dict[str, dict[str, Any]] = {
    "preset": {"help": "size of networks and images (default: %(default)s)"},
    "minutes": {"type": float, "help": "wanted length of all timings together (default: %(default)s)"},
    "rounds": {"type": int, "help": "made even where they take longer (default: %(default)s)"},
    "batch": {"type": int, "help": "images a step"},
    "workers": {"type": int, "help": "loading processes"},
    "precision": {"choices": ("fp32", "bf16")},
    "threads": {"type": int, "help": "threads on a CPU (default: torch's own choice)"},
}


def command_line(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Return a parser of --device, --output and those shared options that `defaults` names."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--device", choices=tuple(PREFIX), default="cpu")
    found.add_argument("--output", type=Path, help=f"folder of the report (default: {FOLDER})")
    for name, default in defaults.items():
        found.add_argument(f"--{name}", default=default, **OPTIONS[name])
    return found


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Set torch up as the options say and return what the machine is. Raises InputError for a bad option."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, but torch sees no GPU here; use --device cpu, or a machine with one.")
    for name in ("minutes", "rounds"):
        value = getattr(options, name, None)
        if value is not None and value <= 0:
            raise InputError(f"--{name} is {value}, but must be positive; leave it out for the usual length.")
    if getattr(options, "threads", 0):
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # cuDNN's fastest algorithms
    return describe(options.device)


def report_file(options: argparse.Namespace, name: str) -> Path:
    """Return the place of a benchmark's JSON; its page lies beside it."""
    return (options.output or FOLDER) / f"{PREFIX[options.device]}_{name}.json"


def write_report(path: Path, result: dict[str, Any], page: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """Write a benchmark's JSON and its page, and return what the JSON holds."""
    files.write_json(path, result)
    files.write_text(path.with_suffix(".md"), page(result))
    return result


def run_command(main: Callable[[argparse.Namespace], T], parser: argparse.ArgumentParser) -> T:
    """Call `main` with the process's parsed command line and return its result; exit with code 2 on an InputError."""
    try:
        return main(parser.parse_args())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
