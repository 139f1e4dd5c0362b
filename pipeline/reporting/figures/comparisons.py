"""The forest plot of a preset: every distinct comparison of all tables by paper, ours beside the published gain."""

from pathlib import Path

from pipeline import paths
from pipeline.published.papers import NAMES
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.results import GAINS, draw_gain
from pipeline.verdicts.comparison import headline_evaluations
from pipeline.verdicts.scorecard import distinct
from pipeline.verdicts.table_lines import Line

FIELDS = ("table", "label", "evaluation", "baseline", "metric", "published_gain", "our_gain", "low", "high", "verdict")
WIDEST = 48  # letters of a row's label


def draw_comparisons(preset: str, tables: dict[str, list[Line]], combined: list[Line], path: Path) -> None:
    """Draw the deciding gain of every comparison that was run, and write its data beside it.

    Args:
        preset: for the title.
        tables: the lines of every table by its name.
        combined: of what no paper prints, drawn below the papers' comparisons where it was run.
        path: of the PNG.
    """
    found = distinct(tables)
    groups = [(NAMES[paper], [pair for pair in found if pair[0].startswith(f"{paper}_")]) for paper in paths.PAPERS]
    unprinted = [("", line) for line in combined if line.metric == "ap" and line.compared and line.our_gain is not None]
    groups = [(name, pairs) for name, pairs in (*groups, ("Compared in no paper", unprinted)) if pairs]
    found += unprinted
    rows = sum(len(pairs) + 1 for _, pairs in groups)
    drawn, (ax,) = plotting.figure(1, 1, (8.5, 1.3 + 0.27 * max(4, rows)))
    place, ticks, plain = rows, [], headline_evaluations()
    for name, pairs in groups:
        ax.annotate(name, (0, place), xycoords=("axes fraction", "data"), fontweight="bold", va="center")
        place -= 1
        for table, line in pairs:
            draw_gain(ax, line, place)
            ticks.append((place, f"{shortened(named(line, plain))}  ({table})" if table else line.label))
            place -= 1
    if not found:
        plotting.say_empty(ax, "not run")
    else:
        ax.axvline(0, color="black", linewidth=0.9)
        ax.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
        ax.set_ylim(0.3, rows + 0.7)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("gain over baseline (points of the table's deciding metric)")
    title = f"All comparisons that were run, preset {preset}; in brackets their tables\n{GAINS}"
    drawn.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    data = [{"table": table, **{key: line.text[key] for key in FIELDS[1:]}} for table, line in found]
    plotting.save(drawn, path, FIELDS, data)


def named(line: Line, plain: set[str]) -> str:
    """Return a comparison's method as the index names it; of one outside the headline the printed label too."""
    if line.evaluation in plain:
        return line.method
    return line.label if line.method in line.label else f"{line.method}: {line.label}"


def shortened(label: str) -> str:
    return label if len(label) <= WIDEST else label[: WIDEST - 1] + "…"
