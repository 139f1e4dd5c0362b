"""How to take the best detector home: the commands that export it and detect with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pipeline import paths
from pipeline.own.detectors import Detector
from pipeline.verdicts.results import load_experiment


def take_home(preset: str, found: Sequence[Detector]) -> str:
    """Return the commands for the best of some detectors (best first) that finds objects by itself."""
    alone = [one for one in found if not load_experiment(one.kind.experiment).proposals]
    if not alone:
        return "None of these finds objects by itself: they classify regions that another network proposes.\n"
    best, text = alone[0], ""
    if best is not found[0]:
        text += (
            f"{found[0].name} classifies regions that another network proposes and cannot be taken along alone; the "
            f"best that can is {best.name}.\n\n"
        )
    experiment, test = paths.split_evaluation(best.kind.evaluation)
    option = "" if test == next(iter(load_experiment(experiment).tests)) else f" --test {test}"
    python = "python -m pipeline.stages"
    lines = [
        f"{python}.export {experiment} --preset {shlex.quote(preset)} --folder detector",
        f"{python}.detect --from detector{option} --images FOLDER_OR_FILE --out detected",
    ]
    own = ("build", preset)  # where `make compare` writes
    where = f" (`{'/'.join(own)}`)" if paths.ROOT.parts[-2:] == own else ""
    text += "```sh\n" + "\n".join(lines) + "\n```\n"
    return text + (
        f"Type them in the project's folder that holds this report{where}. The first "
        f"writes {best.name} (its first training) into a folder that needs neither data nor results; the second "
        "detects in any pictures with it: COCO results, a CSV, and pictures with the boxes above each class's score of "
        "the best F1 on the validation pictures.\n"
    )
