"""Count the networks behind the papers' printed costs: `python -m pipeline.stages.identities --preset PRESET`."""

import argparse

from pipeline import paths
from pipeline.cli import run
from pipeline.files import write_json, write_text


def main(options: argparse.Namespace) -> None:
    from pipeline.models.identities import count_identities
    from pipeline.reporting.identities import identities_page, identities_rows, totals

    counted = count_identities()
    write_text(paths.identities(options.preset), identities_page(counted))
    write_json(paths.metrics(options.preset, "identities"), totals(counted) | {"rows": identities_rows(counted)})


if __name__ == "__main__":
    run(main, __doc__)
