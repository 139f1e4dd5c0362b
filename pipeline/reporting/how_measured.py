"""The one page that says how all numbers of a report are measured and judged; every other page links it."""

from pipeline import paths
from pipeline.files import write_text
from pipeline.reporting.context import HOW, comparability, numbers_of, recipe_of
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import CLAIM_RULE, RULES, gain_rule

TABLES = """\
- Cells read `published → ours`. AP, recall and errors are in percent, gains in points over the row's own baseline.
- `Blocks ±`: how many trainings a row is the mean of, and the deviation of one of them; `1` is a single one.
- `x baseline`: parameters and multiply-adds as multiples of the baseline's, of one input of the size that stands
  there. A test at several resolutions counts the pixels of all.
"""
CARDS = """\
- Model cards: brackets are 95 % intervals over images alone, percentiles of a bootstrap. Run-to-run noise comes on top.
"""


def write_how_measured(preset: str) -> None:
    """Write `how_measured.md` of a preset."""
    write_text(paths.index(preset).with_name(HOW), how_measured(Results(preset)))


def how_measured(results: Results) -> str:
    """Return the page: data and networks, then tables, then each kind of verdict."""
    text = f"# How results are measured and judged, preset {results.name}\n\n{numbers_of(results)} [Back](index.md).\n"
    text += f"\n## Data and networks\n\n{bullets(comparability(results), *recipe_of(results))}"
    text += f"\n## Tables\n\n{TABLES}{CARDS if results.reproduces() else ''}"
    if not results.judges:
        return text
    rule = gain_rule(100 * results.preset.verdicts.min_baseline_ap50)
    text += f"\n## Gains and their verdicts\n\n{bullets(*rule)}"
    text += f"\n## Errors, counts and times\n\n{bullets(*RULES.values())}"
    return text + (f"\n## Claims\n\n{bullets(*CLAIM_RULE)}" if results.reproduces() else "")


def bullets(*lines: str) -> str:
    return "".join(f"- {line}\n" for line in lines)
