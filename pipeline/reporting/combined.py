"""What the headline compares and no paper does, as lines like those of a paper's table.

MSFM with DST, and SNIP over multi-scale training, whose weights saw as many images as its own: the printed gain is that
of two rows of a table whose own baseline is a third one.

They are of no table, so nothing that counts agreement with the papers sees them.
"""

from pipeline import paths
from pipeline.published.headline import COMBINED
from pipeline.published.tables import Row, Table
from pipeline.reporting.table_csv import csv_rows
from pipeline.verdicts.comparison import Compared, headline_rows, judge_gain, metrics_of
from pipeline.verdicts.methods import COMBINATIONS, METRICS, SNIP, Pair
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import FIELDS, Line, Method, line_of, method_of

# of equal length, where the paper's baseline of SNIP's headline saw a third of the images
SNIP_OVER_MULTI_SCALE = Pair(
    "SNIP (over its multi-scale training)", f"{SNIP}_snip__ms_test", f"{SNIP}_ms_train__ms_test"
)
BESIDE = (next(pair for pair, _ in COMBINATIONS if pair.evaluation == COMBINED), SNIP_OVER_MULTI_SCALE)


def combined_lines(results: Results) -> list[Line]:
    """Return the scores, gains and costs of all pairs; none under a preset without verdicts."""
    return [line for pair in BESIDE for line in pair_lines(results, pair)] if results.judges else []


def pair_lines(results: Results, pair: Pair) -> list[Line]:
    """Return the lines of one pair."""
    experiments = (paths.split_evaluation(pair.evaluation)[0],)
    row = Row(pair.evaluation, pair.name, {}, ours=True, role="method", experiments=experiments)
    table = Table("", "", "coco", "", "percent", columns=METRICS, rows=(row,))
    printed = {name: printed_gain(pair, name) for name in metrics_of(table)}
    gains = {name: judge_gain(results, pair.evaluation, pair.baseline, name, gain) for name, gain in printed.items()}
    item = Compared(row, pair.evaluation, results.metrics(pair.evaluation), pair.baseline, gains=gains)
    found = csv_rows(results, table, [item], [], [], [])
    return [line_of(dict.fromkeys(FIELDS, "") | {key: f"{value}" for key, value in one.items()}) for one in found]


def printed_gain(pair: Pair, metric: str) -> float | None:
    """Return the difference of the two evaluations' cells in points, where the headline's tables print both."""
    cells = {row.evaluation: row.values.get(metric) for row in headline_rows()}
    ours, base = cells.get(pair.evaluation), cells.get(pair.baseline)
    return None if None in (ours, base) else round(ours - base, 3)


def combined_methods(results: Results) -> list[Method]:
    """Return them as the methods of tables are."""
    pairs = BESIDE if results.judges else ()
    return [method_of("", pair_lines(results, pair), pair.evaluation) for pair in pairs]
