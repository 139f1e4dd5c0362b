"""Count the networks behind the papers' printed costs: `python -m pipeline.stages.identities --preset PRESET`."""

import argparse

from pipeline import paths
from pipeline.cli import run
from pipeline.files import write_text


def main(options: argparse.Namespace) -> None:
    from pipeline.models.identities import count_identities
    from pipeline.reporting.identities import identities_page

    write_text(paths.identities(options.preset), identities_page(count_identities()))


if __name__ == "__main__":
    run(main, __doc__)
