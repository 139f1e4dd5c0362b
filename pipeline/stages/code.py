"""Write `data/code/<stage>.txt` for every stage: the hashes of all modules that its script can import."""

from __future__ import annotations

import argparse

from pipeline import cli, code_digest


def main(options: argparse.Namespace) -> None:
    changed = code_digest.write()
    print(f"{len(changed)} of {len(code_digest.stages())} code digests changed" + "".join(f"\n  {s}" for s in changed))


if __name__ == "__main__":
    cli.run(main, __doc__)
