"""The page of the benchmark of DST's cost, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import bracketed, heading, spread
from pipeline.markdown import Column, number, percent, plural, table

NAMES = {"baseline": "without DST", "dst": "DST", "all_collage": "collages in every step"}
PARTS = {"step": "step only", "total": "step and loading"}
PAPER = 9.0 / 8.7  # hours of DST over the baseline's in table 2


def dst_overhead_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    settings, limit = result["settings"], result["limit"]
    found = result["ratios"]["dst"]["step"]["median"]
    loaded = result["ratios"]["dst"]["total"]["median"]
    where = (
        "in the training's own process, so it is on the critical path"
        if settings["workers"] == 0
        else f"in {plural(settings['workers'], 'process', 'processes')} of its own for each training and stream, so it "
        "is waited for only where these do not keep up"
    )
    kept = "stay decoded in memory" if settings["images_stay_decoded"] else "are decoded anew every time"
    shares = {name: percent(one["collage_share"], 0) for name, one in result["trainings"].items()}
    return "\n".join(
        [
            heading("What dynamic scale training costs", result, "networks and images are those of this preset"),
            f"Three live trainings of Faster R-CNN R50-FPN at preset `{result['preset']}`, batch "
            f"{settings['batch']}, {settings['precision']}, learning rate {settings['learning_rate']:g}, in one "
            f"process: {plural(settings['rounds'], 'round')} of {plural(settings['block'], 'step')} of each in turn, "
            "in an order drawn anew. Ratios divide by the training without DST; brackets are "
            f"{percent(settings['level'], 0)} % intervals of a bootstrap over rounds. The median is that of a step; "
            "the mean decides how long a training takes.\n",
            f"Per step, DST's median is {bracketed(found, '**')} times the baseline's; wanted is at "
            f"most {limit:g}: **{verdict(found, limit)}**. With loading it is {bracketed(loaded)}: "
            f"{verdict(loaded, limit)}. "
            f"DST's feedback drew collages in {shares['dst']} % of these steps. "
            f"The paper's hours are {number(PAPER, 3)} times the baseline's.\n",
            ratios_table(result),
            "## Where the time goes\n",
            f"Loading happens {where}; images {kept}. A collage step decodes, resizes and flips four times as many "
            'images as a regular one and then makes the collages; "loading" is what the training waited for. '
            '"Step" is forward, backward and update, with the feedback in it. Medians in ms, with quartiles:\n',
            times_table(result),
            "Operators that a step with collages spends most more time in, ms a step (profiled, loading included). "
            "Those on boxes (`minimum`, `maximum`, `sub`, `clamp`) match anchors and proposals to four times as many "
            "objects:\n",
            table(OPERATORS, result["added"]),
            collage_line(result["collage"]),
            f"Made by `python -m pipeline.benchmarks.dst_overhead --preset {result['preset']} "
            f"--device {result['device']}`.\n",
        ]
    )


def verdict(found: dict[str, float], limit: float) -> str:
    """Return `met` or `missed`, and that one cannot tell where the interval holds the limit."""
    word = "met" if found["ratio"] <= limit else "missed"
    return f"{word}, but the interval includes {limit:g}" if found["low"] <= limit < found["high"] else word


def ratios_table(result: dict[str, Any]) -> str:
    """Return times over the baseline's: step only, and with loading."""
    columns = [
        Column("training", lambda line: NAMES[line[0]]),
        Column("collage steps, %", lambda line: percent(result["trainings"][line[0]]["collage_share"], 0), "r"),
        Column("time of", lambda line: PARTS[line[1]]),
        Column("median step", lambda line: bracketed(line[2]["median"]), "r"),
        Column("mean step", lambda line: bracketed(line[2]["mean"]), "r"),
    ]
    return table(columns, [(name, *part) for name, parts in result["ratios"].items() for part in parts.items()])


def times_table(result: dict[str, Any]) -> str:
    """Return ms of regular and collage steps of each training."""
    columns = [Column("training", lambda line: NAMES[line[0]]), Column("steps", lambda line: line[1])]
    for title, part in (("step", "step"), ("loading", "data"), ("both", "total")):
        columns.append(Column(title, lambda line, part=part: spread(line[2][part], 1), "r"))
    kinds = ("regular", "collage")
    trainings = [(name, training["ms"]) for name, training in result["trainings"].items()]
    return table(columns, [(name, kind, ms[kind]) for name, ms in trainings for kind in kinds if kind in ms])


OPERATORS = (  # those that collages add most to
    Column("operator", lambda one: f"`{one['name']}`"),
    Column("without", lambda one: number(one["without"], 1), "r"),
    Column("with collages", lambda one: number(one["with"], 1), "r"),
    Column("more", lambda one: number(one["added"], 1), "r"),
)


def collage_line(collage: dict[str, Any]) -> str:
    """Return what one collage costs, against what is wanted."""
    height, width = collage["images"]
    word = "met" if collage["ms"]["median"] <= collage["limit"] else "missed"
    return (
        f"A collage of four images of {height}x{width} takes {number(collage['ms']['median'], 1)} ms "
        f"({number(collage['ms']['low'], 1)} to {number(collage['ms']['high'], 1)}, fastest "
        f"{number(collage['fastest_ms'], 1)}) on one core, the median of {collage['repeats']}; wanted is at most "
        f"{collage['limit']:g} ms: **{word}**.\n"
    )
