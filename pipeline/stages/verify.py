"""Check a preset's data and bring it into one form: `python -m pipeline.stages.verify --preset PRESET`."""

import argparse

from pipeline import config, paths
from pipeline.cli import run
from pipeline.data.sources import verify_preset
from pipeline.data.verification_page import write_verification_page
from pipeline.files import write_text


def main(options: argparse.Namespace) -> None:
    manifest = verify_preset(config.load_preset(options.preset))
    write_text(paths.data_page(options.preset), write_verification_page(manifest))


if __name__ == "__main__":
    run(main, __doc__)
