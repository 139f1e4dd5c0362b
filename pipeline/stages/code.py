"""Write `data/code/<preset>/...`: what each stage depends on besides its files, its settings and its code."""

import argparse

from pipeline import cli, code_digest

SHOWN = 20  # names of changed digests; an edit of a basis changes hundreds


def main(options: argparse.Namespace) -> None:
    changed = code_digest.write()
    lines = [f"{len(changed)} of {len(code_digest.entries())} digests changed", *map(str, changed[:SHOWN])]
    if len(changed) > SHOWN:
        lines.append(f"and {len(changed) - SHOWN} more (data/code lists all)")
    print("\n  ".join(lines))


if __name__ == "__main__":
    cli.run(main, __doc__)
