"""How a benchmark with a command line of its own ends: bad input in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import InputError

T = TypeVar("T")


def run_command(main: Callable[[argparse.Namespace], T], parser: argparse.ArgumentParser) -> T:
    """Call `main` with the process's parsed command line and return its result; exit with code 2 on an InputError."""
    try:
        return main(parser.parse_args())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
