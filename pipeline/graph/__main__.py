"""The graph's command line: `build TARGET`, `accept TARGET`, `check`."""

from __future__ import annotations

import argparse
import os
import sys

from pipeline.errors import InputError
from pipeline.graph.build import BuildError, accept, build
from pipeline.graph.check import by_dvc, drift


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.graph", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    builder = actions.add_parser("build", help="run what DVC calls out of date, in parallel")
    builder.add_argument("--cores", type=int, default=os.cpu_count(), help="stages side by side (default: all cores)")
    accepter = actions.add_parser("accept", help="take committed results as they are after a clone, without training")
    for action in (builder, accepter):
        action.add_argument("target", nargs="?", default="quickstart", help="a stage or a file (default: quickstart)")
    actions.add_parser("check", help="compare DVC's graph with Snakemake's; exit code 1 where they differ")
    options = parser.parse_args()
    try:
        if options.action == "build":
            build(options.target, options.cores)
        elif options.action == "accept":
            accept(options.target)
        else:
            found = drift()
            print("\n".join(found) or f"Both doors show one graph ({len(by_dvc())} outputs).")
            return 1 if found else 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BuildError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
