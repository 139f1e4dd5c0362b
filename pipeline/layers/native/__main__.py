"""Build PSConv's C++ kernel for this machine's processor and prove it against plain operations (a minute at most).

python -m pipeline.layers.native            # layers use it from the next process on
python -m pipeline.layers.native --remove   # layers go on without it
"""

import argparse
import sys

from pipeline.errors import InputError
from pipeline.layers.native.build import build, remove
from pipeline.layers.native.library import load
from pipeline.paths import ROOT


def main() -> None:
    """Build the kernel, or remove what was built."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remove", action="store_true", help="delete what was built")
    if parser.parse_args().remove:
        remove()
        return
    path = build()
    for old in path.parent.glob("*.so"):
        if old != path:
            old.unlink()
    if load() is None:
        remove()
        raise InputError(
            "The compiled kernel of PSConv does not give the values of plain operations here: it is not used."
        )
    print(f"{path.relative_to(ROOT)}: equal to plain operations; PSConv2d uses it from the next process on.")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
