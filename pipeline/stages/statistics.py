"""Compare a preset's object sizes with COCO's: `python -m pipeline.stages.statistics --preset PRESET`."""

import argparse

from pipeline import config, paths
from pipeline.cli import run
from pipeline.data.manifest import load_split
from pipeline.data.statistics import compare, scale_statistics
from pipeline.files import write_json
from pipeline.reporting.figures.statistics import plot_statistics


def main(options: argparse.Namespace) -> None:
    preset = config.load_preset(options.preset)
    manifest = paths.manifest(preset.name)
    splits = {name: scale_statistics(load_split(manifest, name), preset.pixel_factor) for name in ("train", "val")}
    rows = compare(splits["train"])
    for row in rows:
        print(f"{row['name']:24} wanted {row['wanted']:.3f}  achieved {show(row['achieved'])}  within {row['within']}")
    result = {"splits": splits, "comparison": rows}
    write_json(paths.statistics(preset.name), result)
    plot_statistics(result, paths.figure(preset.name, "statistics"))


def show(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    run(main, __doc__)
