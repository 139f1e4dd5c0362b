"""The classes of a comparison: their objects, what the best and the plain detector make of them, and confusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline import markdown as md
from pipeline import paths
from pipeline.own.by_class import LEAST, class_metric
from pipeline.own.cells import class_names, few, level_text
from pipeline.own.confusion import NOTHING
from pipeline.own.detectors import Detector, order_of

MOST_CLASSES = 15  # rows and columns of a confusion matrix that can be read


def classes_section(found: Sequence[Detector]) -> str:
    """Return objects by class and size, then AP by class of the best detector and of the first plain one."""
    best = found[0]
    plain = min((one for one in found if one.kind.plain), key=lambda one: order_of(one.kind), default=best)
    names = class_names(best)

    def objects(size: str) -> Callable[[str], str]:
        return lambda key: f"{best.metrics['objects'][key][size]:,}"

    def ap(one: Detector) -> Callable[[str], str]:
        def cell(key: str) -> str:
            count = best.metrics["objects"][key]["all"]
            return few(count) if count < LEAST else level_text(one.level(class_metric(key)))

        return cell

    def shown(key: str) -> str:
        one = best.metrics["thresholds"][key]
        return f"{one['threshold']:.2f} ({md.percent(one['f1'], 0)})"

    columns = [
        md.Column("Class", names.__getitem__),
        *(md.Column(title, objects(size), "r") for title, size in SIZED.items()),
        *(md.Column(f"AP, {one.name}", ap(one), "r") for one in dict.fromkeys((best, plain))),
        md.Column("Show from a score of (F1, %)", shown, "r"),
    ]
    return (
        f"Objects in the validation pictures. Below {LEAST} objects of a class or size no AP is given.\n\n"
        f"{md.table(columns, names)}\nScores of the best detector, {best.name}: where F1 is highest on these very "
        "pictures, at IoU 0.5, which flatters a little.\n"
    )


SIZED = {"Objects": "all", "small": "small", "medium": "medium", "large": "large"}


def confusion_section(best: Detector) -> str:
    """Return how often objects of one class were shown as another by the best detector, at the suggested scores."""
    names = class_names(best)
    folder = (paths.index(best.results.name).parent / "mistakes").as_posix()
    matrix, objects = best.metrics["confusion"], best.metrics["objects"]
    chosen = sorted(names, key=lambda key: -objects[key]["all"])[:MOST_CLASSES]
    chosen = [key for key in names if key in chosen]

    def cell(shown: str) -> Callable[[str], str]:
        return lambda annotated: f"{matrix.get(annotated, {}).get(shown, 0):,}"

    columns = [
        md.Column("Annotated", lambda key: names.get(key, "nothing (false alarm)")),
        *(md.Column(f"shown as {names[key]}", cell(key), "r") for key in chosen),
        md.Column("missed", lambda key: "" if key == NOTHING else cell(NOTHING)(key), "r"),
    ]
    text = md.table(columns, [*chosen, NOTHING])
    left = len(names) - len(chosen)
    text += f"\n{md.plural(left, 'rarer class', 'rarer classes')} left out.\n" if left else ""
    return (
        f"{best.name}, first training, at the scores above and IoU 0.5.\n\n{text}\n"
        f"Its worst misses and false alarms: `{folder}/{best.kind.evaluation}_*.png`, drawn by `python -m "
        f"pipeline.own.mistakes {best.kind.evaluation}` where this was built; git ignores them.\n"
    )
