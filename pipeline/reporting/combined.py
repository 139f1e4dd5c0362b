"""What the headline has and no paper prints, as lines like those of a paper's table.

MSFM with DST, and SNIP over multi-scale training, whose weights saw as many images as its own.

They are of no table, so nothing that counts agreement with the papers sees them.
"""

from pipeline import paths
from pipeline.published.headline import COMBINED
from pipeline.published.tables import Row, Table
from pipeline.reporting.table_csv import csv_rows
from pipeline.verdicts.comparison import Compared, judge_gain, metrics_of
from pipeline.verdicts.methods import COMBINATIONS, METRICS, SNIP, Pair
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import FIELDS, Line, Method, line_of, method_of

UNPRINTED = (
    next(pair for pair, _ in COMBINATIONS if pair.evaluation == COMBINED),
    Pair("SNIP over multi-scale training", f"{SNIP}_snip__ms_test", f"{SNIP}_ms_train__ms_test"),
)


def combined_lines(results: Results) -> list[Line]:
    """Return the scores, gains and costs of all pairs; none under a preset without verdicts."""
    return [line for pair in UNPRINTED for line in pair_lines(results, pair)] if results.judges else []


def pair_lines(results: Results, pair: Pair) -> list[Line]:
    """Return the lines of one pair."""
    experiments = (paths.split_evaluation(pair.evaluation)[0],)
    row = Row(pair.evaluation, pair.name, {}, ours=True, role="method", experiments=experiments)
    table = Table("", "", "coco", "", "percent", columns=METRICS, rows=(row,))
    gains = {name: judge_gain(results, pair.evaluation, pair.baseline, name, None) for name in metrics_of(table)}
    item = Compared(row, pair.evaluation, results.metrics(pair.evaluation), pair.baseline, gains=gains)
    found = csv_rows(results, table, [item], [], [], [])
    return [line_of(dict.fromkeys(FIELDS, "") | {key: f"{value}" for key, value in one.items()}) for one in found]


def combined_methods(results: Results) -> list[Method]:
    """Return them as the methods of tables are."""
    pairs = UNPRINTED if results.judges else ()
    return [method_of("", pair_lines(results, pair), pair.evaluation) for pair in pairs]
