"""What the headline combines and no paper prints, MSFM with DST, as lines like those of a paper's table.

They are of no table, so nothing that counts agreement with the papers sees them.
"""

from pipeline.published.headline import COMBINED
from pipeline.published.tables import Row, Table
from pipeline.reporting.table_csv import csv_rows
from pipeline.verdicts.comparison import Compared, judge_gain, metrics_of
from pipeline.verdicts.methods import COMBINATIONS, METRICS
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import FIELDS, Line, Method, line_of, method_of


def combined_lines(results: Results) -> list[Line]:
    """Return the combination's scores, gains and cost over its plain detector; none under a preset without verdicts."""
    if not results.judges:
        return []
    pair = next(pair for pair, _ in COMBINATIONS if pair.evaluation == COMBINED)
    row = Row(COMBINED, pair.name, {}, ours=True, role="method", experiments=(COMBINED,))
    table = Table("", "", "coco", "", "percent", columns=METRICS, rows=(row,))
    gains = {name: judge_gain(results, COMBINED, pair.baseline, name, None) for name in metrics_of(table)}
    item = Compared(row, COMBINED, results.metrics(COMBINED), pair.baseline, gains=gains)
    found = csv_rows(results, table, [item], [], [], [])
    return [line_of(dict.fromkeys(FIELDS, "") | {key: f"{value}" for key, value in one.items()}) for one in found]


def combined_methods(results: Results) -> list[Method]:
    """Return the combination as the methods of tables are."""
    lines = combined_lines(results)
    return [method_of("", lines, COMBINED)] if lines else []
