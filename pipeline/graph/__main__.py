"""The graph's command line: `build`, `accept`, `enter`, `prove`, `tables`, `check`, `write`."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C before `exit_code` can say anything ends in silence

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from pipeline.graph.exits import exit_code  # noqa: E402


def main() -> int:
    """Read the command line and do what it asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.graph", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    builder = actions.add_parser("build", help="run what DVC calls out of date, in parallel")
    builder.add_argument("--cores", type=int, default=os.cpu_count(), help="stages side by side (default: all cores)")
    builder.add_argument("--keep-going", action="store_true", help="after a failure, build what does not need it")
    builder.add_argument(
        "--allow-missing",
        action="store_true",
        help="take committed results as they are although their weights and detections are missing",
    )
    builder.add_argument(
        "--preset",
        help="build this preset in build/PRESET, with locks and caches of its own (default: that of params.yaml, here)",
    )
    accepter = actions.add_parser("accept", help="take committed results as they are after a clone, without training")
    enterer = actions.add_parser("enter", help="record results of stage modules that were run without DVC")
    enterer.add_argument("--trust", action="store_true", help="also results that are older than their inputs")
    builder.add_argument(
        "targets", nargs="*", default=["quickstart"], metavar="target", help="stages or files (default: quickstart)"
    )
    for action in (accepter, enterer):
        action.add_argument("target", nargs="?", default="quickstart", help="a stage or a file (default: quickstart)")
    prover = actions.add_parser("prove", help="after an edit that should change no number: compare, sign")
    prover.add_argument("--base", default="HEAD", help="revision whose code made the results (default: HEAD)")
    prover.add_argument("scripts", nargs="*", metavar="script", help="stages of these scripts alone, such as train")
    actions.add_parser("tables", help="write all published tables from whatever results there are, without training")
    actions.add_parser("write", help="write dvc.yaml files, indexes and docs/differences.md")
    actions.add_parser("check", help="compare DVC's graph with Snakemake's; exit code 1 where they differ")
    options = parser.parse_args()
    return act(options)


def act(options: argparse.Namespace) -> int:
    """Do what the command line asks for; return 1 where the two doors differ. Raises InputError and BuildError."""
    # Imported here, so that Ctrl-C ends a command from its first second on with one sentence.
    from pipeline.graph import build, check, prove, refresh, workspace, write

    if options.action == "build" and options.preset:
        workspace.build(options.preset, options.targets, options.cores, options.keep_going)
    elif options.action == "build":
        build.build(options.targets, options.cores, options.keep_going, options.allow_missing)
    elif options.action == "accept":
        build.accept(options.target)
    elif options.action == "enter":
        refresh.enter(options.target, options.trust)
    elif options.action == "prove":
        return 0 if prove.prove(options.base, options.scripts) else 1
    elif options.action == "tables":
        refresh.refresh()
    elif options.action == "write":
        print("\n".join(map(str, write.write())) or "Every generated file is as it should be.")
    else:
        found = check.drift()
        print("\n".join(found) or f"Both doors show one graph ({len(check.by_dvc())} outputs).")
        return 1 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
