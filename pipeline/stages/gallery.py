"""Draw detections of a paper's baseline and of its method beside the annotations of the same images."""

import argparse

from pipeline.cli import run
from pipeline.reporting.gallery import write_gallery


def main(args: argparse.Namespace) -> None:
    write_gallery(args.preset, args.name)


if __name__ == "__main__":
    run(main, __doc__, name="paper")
