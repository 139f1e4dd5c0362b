"""Download, check and unpack real data sets: `python -m pipeline.stages.fetch [NAME ...] --preset PRESET`.

Without a name it brings what the preset reads. It goes on where it was broken off. Photographs that lie unpacked in
--local are linked. SCALEWISE_MIRROR and SCALEWISE_ARCHIVES in the environment stand for --mirror and --local.
workflow/data/sources.yaml lists all data sets.
"""

import argparse
import os
import sys
from pathlib import Path

from pipeline import config, paths
from pipeline.cli import run
from pipeline.data.fetching.fetch import Ways, check_by_hand, fetch, left_by_hand
from pipeline.data.fetching.remote import choose, load_sources
from pipeline.errors import InputError
from pipeline.files import write_json


def main(options: argparse.Namespace) -> None:
    known = load_sources()
    names = choose(options.datasets, config.load_preset(options.preset), known)
    ways = Ways(options.mirror or None, Path(options.local) if options.local else None, options.keep)
    chosen = {name: known[name] for name in names}
    write_json(paths.fetched(options.preset), fetch(chosen, ways))
    check_by_hand(chosen)  # last: what can be downloaded is here
    left = left_by_hand(chosen)
    if left and options.datasets:
        raise InputError(left[0])
    for sentence in left:  # few trainings of a preset need it, and those name it
        print(f"remark: {sentence}", file=sys.stderr)
    print(f"In place: {', '.join(names)}." if names else f"Preset {options.preset} reads no data set that is fetched.")


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("datasets", nargs="*", metavar="NAME", help="data sets (default: those that the preset reads)")
    mirror, local = os.environ.get("SCALEWISE_MIRROR"), os.environ.get("SCALEWISE_ARCHIVES")
    parser.add_argument("--mirror", default=mirror, help="address before each archive's name, tried first")
    parser.add_argument(
        "--local", default=local, help="folder with archives of your own, or with the photographs; it stays as it is"
    )
    parser.add_argument("--keep", action="store_true", help="keep archives after they are unpacked")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
