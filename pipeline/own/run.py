"""The part of `make compare` that runs in the comparison's own folder: verify, say the cost, train, compare.

The plain detector comes first, so that its AP stands on screen and on the page early; then papers, the cheapest first.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from pipeline import config, object_sizes, paths
from pipeline.data.summary import summary
from pipeline.errors import InputError
from pipeline.files import found_json, read_json, read_text, read_yaml, write_text
from pipeline.graph import doors
from pipeline.graph.build import build, say
from pipeline.graph.exits import BuildError, exit_code
from pipeline.graph.one_build import FROM
from pipeline.own import snip_ranges
from pipeline.own.cells import level_text
from pipeline.own.detectors import DST, PLAIN, PROPOSED, ClassResults, Kind, best_first, kinds, trained
from pipeline.own.graph import add_proposed, chosen_kinds, group_of, narrow, scored, stage_of
from pipeline.own.hours import Fitted, fit
from pipeline.own.page import SHOWN, write_comparison
from pipeline.own.warnings import TOO_FEW, proposed_threshold, too_few_small

BUDGET = Path("data/scratch/budget.json")


def run(options: argparse.Namespace) -> None:
    """Run the comparison of the active preset. Raises BuildError where a stage failed."""
    preset = config.active_preset()
    say("2/5 Verifying both parts")
    build(["synthesize"], 1)
    doors.dvc("repro", "--force", "--single-item", "verify")  # files may have changed under the same names
    manifest = paths.ROOT / paths.manifest(preset)
    found = found_json(manifest) or {"splits": {}}
    for line, is_warning in summary(object_sizes.recounted(found, manifest, config.load_preset(preset))):
        say(f"  warning: {line}" if is_warning else f"  {line}")
    say(f"  {shown(paths.data_page(preset))} says what was left out, and why")
    chosen = chosen_kinds(options.methods)
    narrow(chosen, preset)
    if any(kind.experiment == snip_ranges.EXPERIMENT for kind in chosen):
        say(f"  {snip_ranges.fit_ranges(preset)}")
    order = list(dict.fromkeys(map(group_of, chosen)))
    if not options.no_budget or options.hours is not None:
        say("3/5 What it will cost")
        run_module("pipeline.benchmarks.budget", "compare", preset, cores=options.cores, left="", json=BUDGET)
        found = read_json(paths.ROOT / BUDGET)
        fitted = fit(chosen, found["seconds"], found["side_by_side"], options.hours)
        for line in said_of(fitted, options.hours):
            say(f"  {line}")
        order = fitted.kept
        chosen = [kind for kind in chosen if group_of(kind) in order]
        narrow(chosen, preset)
    if options.only_budget:
        return
    say("4/5 Training, testing and scoring: the plain detector first")
    first = [stage_of(kind) for kind in chosen if kind.evaluation == PLAIN]
    if not all(scored(preset, kind) for kind in chosen if kind.evaluation == PLAIN):
        first_look(preset, first, options.cores)
    build([*first, *([f"loss_share@{DST}"] if "dst" in order else [])], options.cores)
    show_plain(preset)
    threshold = proposed_threshold(ClassResults(preset))
    if "dst" in order and too_few_small(threshold):
        say(f"  DST is trained at its paper's threshold alone: {TOO_FEW}, so this data has none of its own")
    elif "dst" in order and add_proposed(threshold):
        say(f"  DST is trained at the threshold {threshold:g}, too, which its paper would read off this data")
        chosen = [*chosen, *(kind for kind in kinds() if kind.evaluation == PROPOSED)]
    at_once = options.cores if config.load_preset(preset).threads == 1 else 1
    for start in range(0, len(order), at_once):  # stages of one paper wait for each other
        groups = order[start : start + at_once]
        build([stage_of(kind) for kind in chosen if group_of(kind) in groups], options.cores)
        write_comparison(preset)
        for group in groups:
            say(f"  {standing(preset, chosen, group)}")
    say("5/5 Comparing")
    build(["compare"], options.cores)
    page = paths.compared(preset)
    say(
        "\n"
        + read_text(paths.ROOT / page).partition(SHOWN)[0].rstrip()
        + f"\n\nAll of it: {shown(page)}; with tables that sort, for a browser: {shown(page.with_suffix('.html'))}"
    )
    for path in drawn(preset, best_first(trained(ClassResults(preset)))[0].kind.evaluation):
        say(f"Its mistakes: {shown(path)}")


def first_look(preset: str, stages: Sequence[str], cores: int) -> None:
    """Train, test and show one block of the plain detector where there are several: the others go on beside it."""
    file = paths.ROOT / paths.preset_file(preset)
    content = read_yaml(file)
    if content["blocks"] == 1:
        return
    whole = read_text(file)
    write_text(file, yaml.safe_dump(content | {"blocks": 1}, sort_keys=False))
    try:
        build(stages, cores)
        show_plain(preset, f", from the first of {content['blocks']} trainings")
    finally:
        write_text(file, whole)


def show_plain(preset: str, which: str = "") -> None:
    """Write the page with what there is, and say AP of the plain detector, by class too, and where its mistakes lie."""
    write_comparison(preset)
    for line in plain_lines(preset, which):
        say(f"  {line}")


def said_of(fitted: Fitted, hours: float | None) -> list[str]:
    """Return in which order papers are trained, what each adds, and what was left out."""
    parts = [f"{name} {60 * fitted.hours[name]:.0f} min" for name in fitted.kept]
    lines = [f"In this order, the cheapest first: {', '.join(parts)}."]
    if fitted.dropped:
        parts = [f"{name} ({60 * fitted.hours[name]:.0f} min)" for name in fitted.dropped]
        lines.append(f"HOURS={hours:g} leaves out, the dearest first: {', '.join(parts)}.")
    if hours is not None and sum(fitted.hours[name] for name in fitted.kept) > hours:
        lines.append(
            f"warning: the plain detector alone takes longer than HOURS={hours:g}; it is trained all the same."
        )
    return lines


def plain_lines(preset: str, which: str = "") -> list[str]:
    """Return AP and AP by class of the plain detector, with the words which of its trainings, and its pictures."""
    results = ClassResults(preset)
    one = next((found for found in trained(results) if found.kind.evaluation == PLAIN), None)
    if one is None:
        return []
    names = {str(entry["id"]): entry["name"] for entry in one.metrics["categories"]}
    classes = [f"{names[key]} {level_text(one.level(f'ap_class_{key}'))}" for key in names]
    lines = [f"The plain detector{which}: AP {level_text(one.ap)}, AP50 {100 * one.metrics['ap50']:.1f}"]
    lines.append(f"By class: {', '.join(classes[:20])}{' and more' if len(classes) > 20 else ''}")
    return lines + [f"Its mistakes: {shown(path)}" for path in drawn(preset, PLAIN)]


def standing(preset: str, chosen: Sequence[Kind], group: str) -> str:
    """Return the detectors of a paper with their AP."""
    results, own = ClassResults(preset), {kind.evaluation for kind in chosen if group_of(kind) == group}
    found = [one for one in trained(results) if one.kind.evaluation in own]
    return "; ".join(f"{one.name} {level_text(one.ap)}" for one in best_first(found))


def drawn(preset: str, evaluation: str) -> list[Path]:
    """Draw an evaluation's mistakes; pictures that cannot be read are no reason to end a comparison."""
    from pipeline.own.mistakes import draw_mistakes

    try:
        return draw_mistakes(preset, evaluation)
    except InputError as error:
        say(f"  no pictures of mistakes: {error}")
        return []


def shown(path: Path) -> str:
    """Return a path of the comparison's folder as the checkout sees it."""
    return (Path(os.environ.get(FROM, "")) / path).as_posix()


def run_module(module: str, target: str, preset: str, **options: object) -> None:
    """Run one of the project's modules and show what it prints. Raises BuildError where it fails."""
    command = [sys.executable, "-m", module, target, "--preset", preset]
    command += [word for key, value in options.items() for word in (f"--{key}", str(value)) if word]
    done = subprocess.run(command, cwd=paths.ROOT, env=doors.environment())
    if done.returncode:
        raise BuildError(f"`{' '.join(['python', *command[1:]])}` ended with code {done.returncode}.")


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the options that both parts of a comparison take."""
    parser.add_argument("--methods", default="", help=f"papers by commas, of {', '.join(paths.PAPERS)} (default: all)")
    parser.add_argument("--hours", type=float, help="leave out methods that do not fit, the dearest first")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="stages side by side (default: all cores)")
    parser.add_argument("--only-budget", action="store_true", help="stop when it is known what it will cost")
    parser.add_argument("--no-budget", action="store_true", help="start without saying what it will cost")


def main(words: list[str] | None = None) -> int:
    """Return the exit code: 0, 2 for bad input, 1 for a stage that failed."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.own.run", description=__doc__.partition(":")[0])
    extend(parser)
    return exit_code(lambda: run(parser.parse_args(words)))


if __name__ == "__main__":
    sys.exit(main())
