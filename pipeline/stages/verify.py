"""Check a preset's data and normalise it: `python -m pipeline.stages.verify --preset PRESET`.

`--dataset voc` checks the data of the experiments on PASCAL VOC.
"""

import argparse
import sys

from pipeline import config, paths
from pipeline.cli import run
from pipeline.data.fetching.official import compare_counts, counts_section
from pipeline.data.manifest import load_split
from pipeline.data.odd_boxes import odd_section
from pipeline.data.sources import verify_preset
from pipeline.data.summary import summary
from pipeline.data.verification_page import write_verification_page
from pipeline.files import write_text
from pipeline.object_sizes import recounted


def main(options: argparse.Namespace) -> None:
    preset = config.load_preset(options.preset)
    manifest = verify_preset(preset, options.dataset)
    place = paths.manifest(preset.name, options.dataset)
    manifest = recounted(manifest, place, preset)
    for line, is_warning in summary(manifest):
        print(f"warning: {line}" if is_warning else line, file=sys.stderr if is_warning else sys.stdout)
    data = preset.data_of(options.dataset)
    comparisons = [] if data.kind == "scaleworld" else compare_counts(data, manifest)
    for comparison in comparisons:
        if not comparison.agrees:
            print(f"warning: {comparison.sentence}", file=sys.stderr)
    parts = [write_verification_page(manifest, options.dataset == "voc"), counts_section(comparisons)]
    if data.kind != "scaleworld":  # rendered boxes are no slips of a hand
        parts.append(odd_section({name: load_split(place, name) for name in ("train", "val")}))
    page = "\n".join(part for part in parts if part)
    write_text(paths.data_page(preset.name, options.dataset), page)


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=("coco", "voc"), default="coco", help="data set of the experiments")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
