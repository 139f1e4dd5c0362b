"""Compare all five papers' methods on somebody's images: `python -m pipeline.own.compare --images ... `.

It checks the folder, writes a preset, and goes on in `build/<name>` (`pipeline.own.run`), so that nothing changes that
git tracks. Called again it goes on where it stopped, and with more SEEDS only the new ones train.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.evaluation.intervals import t_quantile
from pipeline.graph import workspace
from pipeline.graph.build import say
from pipeline.graph.exits import exit_code
from pipeline.own import data as own_data
from pipeline.own.graph import chosen_kinds
from pipeline.own.run import extend

ENOUGH = 3  # trainings of each


def compare(options: argparse.Namespace) -> None:
    """Run the comparison. Raises BuildError where a stage failed, InputError for a wrong folder or wrong options."""
    if options.seeds < 1:
        raise InputError(f"SEEDS is {options.seeds}, but every method is trained at least once; 3 or more can tell.")
    if options.hours is not None and options.hours <= 0:
        raise InputError(f"HOURS is {options.hours:g}, but must be above 0; leave it out to train every method.")
    published = options.init == "torchvision"
    if options.steps is not None and options.steps < 1:
        raise InputError(f"STEPS is {options.steps}, but a training has at least one; leave it out for SIZE's.")
    methods = startable(options.methods) if published else options.methods
    chosen = chosen_kinds(methods)
    own_data.load_size(options.size)  # a wrong word should not wait for the folder to be read
    say(f"1/5 Checking {options.annotations} and every image")
    places = (options.images, options.annotations, options.val_images, options.val_annotations)
    folder = own_data.read_folder(options.name, *map(absolute, places), options.data, options.sizes, options.categories)
    path = own_data.write_preset(options.name, options.size, folder, options.seeds, published, options.steps)
    for remark in [*at_most(options.seeds, len([kind for kind in chosen if kind.baseline])), *folder.remarks]:
        say(f"  {remark}")
    say(f"  {folder.train_images:,} images to train on, {folder.val_images:,} to validate on: {config.relative(path)}")
    if published:
        say("  All networks start from ImageNet's weights of torchvision; PSConv is left out, whose kernels have none.")
    words = ["--cores", str(options.cores)] + (["--methods", methods] if methods else [])
    words += [] if options.hours is None else ["--hours", str(options.hours)]
    words += [f"--{name.replace('_', '-')}" for name in ("only_budget", "no_budget") if getattr(options, name)]
    workspace.become(options.name, "pipeline.own.run", words)


def startable(methods: str) -> str:
    """Return the methods that can start from published weights: all but PSConv.

    Raises:
        InputError: METHODS names PSConv.
    """
    if any(kind.paper == "psconv" for kind in chosen_kinds(methods)) and methods:
        raise InputError(
            f"METHODS={methods} names psconv, but no weights of its kernels are published; leave psconv or INIT out."
        )
    return methods or ",".join(paper for paper in paths.PAPERS if paper != "psconv")


def absolute(place: str | None) -> str | None:
    """Return a path that holds in the comparison's own folder, too."""
    return str(Path(place).absolute()) if place else place


def at_most(seeds: int, comparisons: int) -> list[str]:
    """Return what so few trainings of each could show at most, nothing where there are enough.

    Noise of training is pooled over the comparisons, each of which adds a degree of freedom less than its trainings.
    """
    if seeds >= ENOUGH:
        return []
    if seeds == 1:
        return ["warning: with SEEDS=1 no difference can be told from chance, however large; 3 or more can tell."]

    def width(count: int) -> float:
        return t_quantile(0.975, max(1, comparisons) * (count - 1)) / count**0.5

    return [
        f"warning: with SEEDS={seeds} a difference between trainings must be {width(seeds) / width(ENOUGH):.1f} times "
        f"as large as with {ENOUGH} to be seen at all."
    ]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(prog="python -m pipeline.own.compare", description=__doc__.partition(":")[0])
    found.add_argument("--images", default="", help="folder that the file names start from; VOC and YOLO may say it")
    found.add_argument("--annotations", required=True, help="COCO's JSON, VOC's folder or list, YOLO's data.yaml")
    found.add_argument("--val-images", help="folder of the validation images (default: --images)")
    found.add_argument("--val-annotations", help="those of the validation images; none: split")
    found.add_argument("--data", default="", help="how to read it: words KEY=VALUE, e.g. boxes=xyxy exif=upright")
    found.add_argument("--sizes", default="coco", help="of objects: coco, thirds of the training objects, or A,B in px")
    found.add_argument("--categories", default="", help="the only ones to detect, by commas (default: all)")
    found.add_argument("--size", default="mini", help="mini, small, full, or a file like those in workflow/sizes")
    found.add_argument("--steps", type=int, help="of a 1x schedule (default: as SIZE has it)")
    found.add_argument("--name", default="compare", help="of the preset and of the folder below build/")
    found.add_argument("--seeds", type=int, default=ENOUGH, help="trainings of every method and baseline (default: 3)")
    found.add_argument(
        "--init",
        default="pretrain",
        choices=("pretrain", "torchvision"),
        help="start from a pre-training on crops of your objects (default), or from ImageNet's weights",
    )
    extend(found)
    return found


def main(call: Callable[[argparse.Namespace], None] = compare, words: list[str] | None = None) -> int:
    """Return the exit code: 0, 2 for bad input, 1 for a stage that failed."""
    return exit_code(lambda: call(parser().parse_args(words)))


if __name__ == "__main__":
    sys.exit(main())
