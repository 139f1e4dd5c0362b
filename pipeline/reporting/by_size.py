"""Which methods help and hurt objects of each size: the index's first table."""

from functools import partial

from pipeline import markdown as md
from pipeline.verdicts.scorecard import decided_alone
from pipeline.verdicts.table_lines import Line, Method

ALONE = "†"
ALONE_SAID = (
    f"{ALONE}: decided alone, but not among all comparisons of this line beside a paper's, where at most one in twenty "
    "of the decided may be false (Benjamini and Hochberg)."
)
SIZES = {"ap_small": "small", "ap_medium": "medium", "ap_large": "large", "ap": "all sizes"}


def by_size(methods: list[Method], tables: dict[str, list[Line]]) -> str:
    """Return which methods help and hurt objects of each size; nothing where no gain has an interval.

    Marked is what would not stay decided among all comparisons of the tables in that metric.
    """
    if all(gain.low is None for method in methods for gain in method.gains.values()):
        return ""
    alone = {metric: decided_alone(tables, metric) for metric in SIZES}

    def shown(metric: str, method: Method) -> str:
        mark = ALONE if (method.evaluation, method.baseline) in alone[metric] else ""
        return f"{method.name} {method.gains[metric].text}{mark}{' (over another baseline)' if method.stand_in else ''}"

    def told(key: str, metric: str) -> str:
        found = [method for method in methods if metric in method.gains and getattr(method.gains[metric], key)]
        return "; ".join(shown(metric, method) for method in sorted(found, key=lambda m: -abs(m.gains[metric].gain)))

    columns = [
        md.Column("Objects", SIZES.__getitem__),
        md.Column("Helps, points of AP", partial(told, "up")),
        md.Column("Hurts", partial(told, "down")),
    ]
    said = f" {ALONE_SAID}" if any(alone.values()) else ""
    return f"{md.table(columns, SIZES)}\nWhat stands in neither column cannot be told here, or was not run.{said}\n\n"
