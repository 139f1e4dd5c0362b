"""Write `data/code/<preset>/...`: what each stage depends on besides its files, its settings and its code."""

import argparse

from pipeline import cli, code_digest


def main(options: argparse.Namespace) -> None:
    changed = code_digest.write()
    print(f"{len(changed)} of {len(code_digest.entries())} digests changed" + "".join(f"\n  {n}" for n in changed))


if __name__ == "__main__":
    cli.run(main, __doc__)
