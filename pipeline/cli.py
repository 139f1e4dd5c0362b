"""The command line that all stages share: one optional name, a preset, and errors of one sentence."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import FULL, DiskFullError


def run(
    main: Callable[[argparse.Namespace], None],
    description: str | None,
    name: str | None = None,
    arguments: Sequence[str] | None = None,
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
    instead: str = "",
) -> None:
    """Parse the command line, call `main`, and end with exit code 2 and one sentence on bad input.

    Args:
        main: the stage; gets `preset`, `verbose` and, where it has one, its positional `name`.
        description: the stage module's docstring.
        name: what the positional argument names (`experiment`, `table`, ...), None where there is none.
        arguments: the command line, by default the process's own.
        extend: adds further options to the parser.
        instead: an option that stands in the place of a preset; where it is given, none is asked for.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if name:
        parser.add_argument("name", metavar=name.upper(), help=f"name of the {name}")
    parser.add_argument("--preset", help="name of a file in workflow/presets (default: the one in params.yaml)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an input error")
    if extend:
        extend(parser)
    options = parser.parse_args(arguments)
    try:
        if not (instead and getattr(options, instead)):
            options.preset = options.preset or config.active_preset()
        main(options)
    except (InputError, OSError) as error:
        if not isinstance(error, InputError) and error.errno not in FULL:
            raise
        if options.verbose:
            traceback.print_exc()
        said = error if isinstance(error, InputError) else DiskFullError(error.filename or "what this stage prints")
        with suppress(OSError):  # its log may lie on the full disk
            print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def run_spec(main: Callable[..., None], description: str | None, name: str = "experiment") -> None:
    """Run a stage of one experiment or init: `main` gets its specification, and for an evaluation the test, too."""

    def resolved(options: argparse.Namespace) -> None:
        experiment, *test = paths.split_evaluation(options.name) if name == "evaluation" else (options.name,)
        main(config.resolve(experiment, options.preset), *test)

    run(resolved, description, name)
