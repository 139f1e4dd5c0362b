"""Count parameters and multiply-adds: `python -m pipeline.stages.measure EXPERIMENT --preset PRESET [--json]`."""

import argparse
import json

from pipeline import config, paths
from pipeline.cli import run
from pipeline.files import write_json


def main(options: argparse.Namespace) -> None:
    spec = config.resolve(options.name, options.preset)
    from pipeline.models.measure import measure, printed_scales

    result = measure(spec, printed_scales(spec))
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        write_json(paths.size(spec.preset.name, spec.name), result)


if __name__ == "__main__":
    run(
        main,
        __doc__,
        name="experiment",
        extend=lambda parser: parser.add_argument("--json", action="store_true", help="print instead of writing"),
    )
