"""Compare all five papers' methods on somebody's images: `python -m pipeline.own.compare --images ... `.

It checks the folder, writes a preset, says what the comparison will cost, builds the quickstart's graph with several
trainings of everything, and writes `reports/<name>/compare.md`. Called again it goes on where it stopped, and with more
SEEDS only the new ones train.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable

from pipeline import config, paths
from pipeline.data.summary import summary
from pipeline.errors import InputError
from pipeline.files import found_json, read_text, write_text
from pipeline.graph import doors
from pipeline.graph.build import build, say
from pipeline.graph.exits import BuildError, exit_code
from pipeline.own import data as own_data

SHOWN = "## Every method"  # the page up to here is printed at the end


def compare(options: argparse.Namespace) -> None:
    """Run the comparison. Raises BuildError where a stage failed, InputError for a wrong folder or wrong options."""
    if options.seeds < 1:
        raise InputError(f"SEEDS is {options.seeds}, but every method is trained at least once; 3 or more can tell.")
    own_data.load_size(options.size)  # a wrong word should not wait for the folder to be read
    say(f"1/5 Checking {options.annotations} and every image")
    folder = own_data.read_folder(
        options.name, options.images, options.annotations, options.val_images, options.val_annotations, options.data
    )
    path = own_data.write_preset(options.name, options.size, folder, options.seeds)
    if options.seeds < 3:
        say(f"  warning: with SEEDS={options.seeds} hardly any difference can be told from chance; 3 or more can tell.")
    for remark in folder.remarks:
        say(f"  {remark}")
    say(f"  {folder.train_images:,} images to train on, {folder.val_images:,} to validate on: {config.relative(path)}")
    before = config.active_preset()
    if before != options.name:
        params = paths.ROOT / paths.PARAMS  # all other lines, `machine:` among them, are the user's
        write_text(params, re.sub(r"^preset:.*$", f"preset: {options.name}", read_text(params), count=1, flags=re.M))
        say(f"  {paths.PARAMS} now says `preset: {options.name}`; it said `preset: {before}`, which takes you back.")
    say("2/5 Verifying both parts")
    build(["synthesize"], 1)
    doors.dvc("repro", "--force", "--single-item", "verify")  # files may have changed under the same names
    for line, is_warning in summary(found_json(paths.ROOT / paths.manifest(options.name)) or {"splits": {}}):
        say(f"  warning: {line}" if is_warning else f"  {line}")
    say(f"  {paths.data_page(options.name)} says what was left out, and why")
    if not options.no_budget:
        say("3/5 What it will cost")
        run_module("pipeline.benchmarks.budget", "quickstart", options.name, cores=options.cores)
    if options.only_budget:
        return
    say("4/5 Training, testing and scoring")
    build(["quickstart"], options.cores)
    say("5/5 Comparing")
    build(["compare"], options.cores)
    page = paths.compared(options.name)
    say("\n" + read_text(paths.ROOT / page).partition(SHOWN)[0].rstrip() + f"\n\nAll of it: {page}")


def run_module(module: str, target: str, preset: str, **options: int) -> None:
    """Run one of the project's modules and show what it prints. Raises BuildError where it fails."""
    command = [sys.executable, "-m", module, target, "--preset", preset]
    command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(command, cwd=paths.ROOT, env=doors.environment())
    if done.returncode:
        raise BuildError(f"`{' '.join(['python', *command[1:]])}` ended with code {done.returncode}.")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(prog="python -m pipeline.own.compare", description=__doc__.partition(":")[0])
    found.add_argument("--images", required=True, help="folder that the file names start from")
    found.add_argument("--annotations", required=True, help="COCO instances JSON; split where no other is named")
    found.add_argument("--val-images", help="folder of the validation images (default: --images)")
    found.add_argument("--val-annotations", help="instances JSON of the validation images")
    found.add_argument("--data", default="", help="how to read it: words KEY=VALUE, e.g. boxes=xyxy exif=upright")
    found.add_argument("--size", default="mini", help="mini, small, full, or a file like those in workflow/sizes")
    found.add_argument("--name", default="compare", help="of the preset and of the folder below reports/")
    found.add_argument("--seeds", type=int, default=3, help="trainings of every method and baseline (default: 3)")
    found.add_argument("--cores", type=int, default=os.cpu_count(), help="stages side by side (default: all cores)")
    found.add_argument("--only-budget", action="store_true", help="stop when it is known what it will cost")
    found.add_argument("--no-budget", action="store_true", help="start without saying what it will cost")
    return found


def main(call: Callable[[argparse.Namespace], None] = compare, words: list[str] | None = None) -> int:
    """Return the exit code: 0, 2 for bad input, 1 for a stage that failed."""
    return exit_code(lambda: call(parser().parse_args(words)))


if __name__ == "__main__":
    sys.exit(main())
