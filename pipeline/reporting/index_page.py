"""The first page of a preset: which method helps small objects here, and can one tell."""

from functools import partial
from statistics import median
from typing import Any

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import found_json
from pipeline.preset import Preset
from pipeline.published.papers import NAMES, PAIRS
from pipeline.reporting.by_size import ALONE, by_size
from pipeline.reporting.combined import combined_methods
from pipeline.reporting.context import HOW, comparability, data_of, judged, numbers_of, shared_trainings
from pipeline.reporting.scorecard_section import scorecard_section, scorecard_sentence
from pipeline.reporting.sources import table_address
from pipeline.reporting.static_html import write_both
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word
from pipeline.verdicts.scorecard import decided_alone
from pipeline.verdicts.table_lines import (
    Line,
    Method,
    baseline_ap50,
    count_verdicts,
    main_metric,
    methods_of,
    read_headlines,
    read_table,
)

METRIC = "ap_small"
INTERVALS = " with 95 % intervals"
# made by `dvc repro`, which needs every experiment; the headline leaves them as they are
WHOLE = """\
- [How far the evidence carries](evidence.md): what could be told from nothing, and running it again
- [Which detector to take](compare.md): detectors of one method each by AP and cost, and advice
- [All tables](catalogue.md): each published row beside ours, with its experiment, command and cost
- [Every result as one CSV](results.csv): a row for each evaluation and training, to load
- [Claims](claims.md), [methods side by side](methods.md), [the papers' figures](paper_figures/README.md) and
  [model cards](cards/README.md): from the whole catalogue, `dvc repro`
- [What was looked at besides AP](README.md), and the front page of the whole report
"""
LATER = """\
- `dvc repro` adds `catalogue.md`, `results.csv`, `claims.md`, `methods.md`, `paper_figures` and `cards`: of all
  experiments
"""


def write_index(preset: str) -> None:
    """Write `index.md` of a preset, and the same as `index.html`."""
    write_both(paths.index(preset), index_page(Results(preset)))


def index_page(results: Results) -> str:
    """Return the page; its first screen is the answer."""
    combined = combined_methods(results)
    methods = [*methods_of(results.name, headline_tables(), headline=True), *combined]
    text = f"# Scalewise, preset {results.name}\n\n"
    text += f"{numbers_of(results)} {comparability(results)}\n\n"
    if results.judges:
        text += "**Which method helps small objects here, and can one tell?**\n\n"
        text += "".join(f"- {line}\n" for line in [*answer(results, methods), *reproduced(results)]) + "\n"
        text += by_size(methods, headline_lines(results))
    text += md.table(judged(results, METHODS), sorted(methods, key=_order))
    text += f"\nAP in percent, gains in points over the method's own baseline{INTERVALS if results.judges else ''}, "
    text += "cost as a multiple of that baseline's."
    names = md.listing([method.name for method in combined])
    text += f" No paper compares {names} so: no count beside theirs holds it." if combined else ""
    weak = any(gain.word == Word.UNDERTRAINED for method in methods for gain in method.gains.values())
    floor = md.percent(results.preset.verdicts.min_baseline_ap50, 0)
    text += f" `{Word.UNDERTRAINED}`: that baseline's AP50 is below {floor}.\n" if weak else "\n"
    text += "\n![Gain by object size, published and ours](figures/ap_by_size.png)\n\n[Data](figures/ap_by_size.csv).\n"
    text += f"\n## Pages\n\n{pages_section(results)}"
    text += f"\n## Run and decided\n\n{decided_section(results)}" if results.judges else ""
    text += f"\n## Sizes\n\n{sizes_section(results)}\n## Data\n\n{data_section(results)}"
    return f"{text}\n## Go on\n\n{commands(results)}"


def answer(results: Results, methods: list[Method]) -> list[str]:
    """Return a few lines: what helps, what hurts, what cannot be told, what could be, and what these are."""
    small = {method: method.gains[METRIC] for method in methods}
    up = sorted((m for m in methods if small[m].up and not m.stand_in), key=lambda m: -small[m].gain)
    down = sorted((m for m in methods if small[m].down and not m.stand_in), key=lambda m: small[m].gain)
    alone = decided_alone(headline_lines(results), METRIC)
    marks = {m: ALONE if (m.evaluation, m.baseline) in alone else "" for m in methods}
    told = {
        key: "; ".join(f"{m.name} {small[m].text}{marks[m]}" for m in found)
        for key, found in (("up", up), ("down", down))
    }
    run = any(gain.gain is not None for gain in small.values())
    if up:
        said = f" ({ALONE}: decided alone, not among all comparisons)" if any(marks[m] for m in up) else ""
        lines = [f"**Helps:** {told['up']} points of AP small{said}."]
    elif run:
        lines = ["**No:** of no method can it be told that it raises the AP of small objects here."]
    else:
        lines = ["**Nothing was run yet** under this preset."]
    lines += [f"**Hurts:** {told['down']} points."] if down else []
    lines += [
        f"**Decided, but not over the paper's baseline:** {method.name} {small[method].text}, where "
        f"`{method.baseline}` may have trained less. `dvc repro {table_address(method.table)}` takes the paper's."
        for method in methods
        if method.stand_in and small[method].word.decided
    ]
    rest: dict[str, list[str]] = {}
    for method in methods:
        if not small[method].word.decided:
            rest.setdefault(small[method].word, []).append(method.name)
    if rest:
        parts = [f"{word}: {md.listing(names)}" for word, names in sorted(rest.items(), reverse=True)]
        lines.append(f"**One cannot tell:** {'; '.join(parts)}.")
    longer = [f"{m.name} {m.costs['images_ratio']}x" for m in methods if m.longer]
    if longer:
        lines.append(
            f"**Part of these gains is longer training**, on more images than the baseline's: {md.listing(longer)}."
        )
    halves = [gain.half_width for gain in small.values() if gain.half_width is not None]
    if halves:
        of = md.plural(len(halves), "method")
        lines.append(f"A gain in AP small must exceed about {median(halves):.1f} points to be seen (median of {of}).")
    elif run:
        lines.append("Nothing can be decided from one training each; `blocks` of the preset says how many there are.")
    return lines


def reproduced(results: Results) -> list[str]:
    """Return what is exact, and how all comparisons together stand beside the papers', a line each."""
    lines = []
    held = found_json(paths.metrics(results.name, "identities"))
    if held:
        lines.append(
            f"**Exact:** {held['equal']} of {md.plural(held['counted'], 'network')} have the "
            "[parameters](identities.md) that follow from their papers' designs, to the integer."
        )
    beside = scorecard_sentence(headline_lines(results))
    return [*lines, *([f"**Beside the papers:** {beside}"] if beside else [])]


def headline_lines(results: Results) -> dict[str, list[Line]]:
    """Return the lines of the headline's tables by table."""
    return {name: read_table(results.name, name, headline=True) for name in headline_tables()}


METHODS = (
    md.Column("Method", lambda method: f"[{method.name}]({_address(method)})"),
    md.Column("AP", lambda method: md.NOT_RUN if method.ap is None else md.number(method.ap), "r"),
    md.Column("AP small gain", lambda method: method.gains[METRIC].text, "r"),
    md.Column("Verdict, small", lambda method: method.gains[METRIC].word),
    md.Column("AP gain", lambda method: method.gains["ap"].text, "r"),
    md.Column("Verdict, AP", lambda method: method.gains["ap"].word),
    md.Column("Parameters, multiply-adds, images seen in training", lambda method: method.cost, "r"),
)


def decided_section(results: Results) -> str:
    """Return counts for each table of the headline, and how well the baselines learnt."""
    found = headline_lines(results)
    counts = {name: count_verdicts(lines, main_metric(lines)) for name, lines in found.items()}

    def words(name: str) -> str:
        moved = sorted({line.verdict for line in found[name] if line.kind == "scale"})
        scales = f"learnt scales: {', '.join(moved)}" if moved else ""
        return str(counts[name]) or scales or ("" if found[name] else "not made")

    columns = [
        md.Column("Table", lambda name: f"[{name}](headline/{name}.md)" if found[name] else name),
        md.Column("Compared", lambda name: counts[name].compared, "r"),
        md.Column("Decided", lambda name: counts[name].decided, "r"),
        md.Column("Verdicts", words),
        md.Column("Not run", lambda name: counts[name].not_run, "r"),
    ]
    compared, decided = (sum(getattr(count, key) for count in counts.values()) for key in ("compared", "decided"))
    waiting = sum(count.words.get(Word.NOT_RUN, 0) for count in counts.values())
    text = f"Decided by AP: **{decided} of {compared}** compared rows that were run; {waiting} not run.\n\n"
    text += md.table(columns, found)
    ap50 = baseline_ap50(results.name, headline_tables())
    if ap50:
        span = f"{ap50[0]:.1f}" if ap50[0] == ap50[-1] else f"{ap50[0]:.1f} to {ap50[-1]:.1f}"
        floor = 100 * results.preset.verdicts.min_baseline_ap50
        text += f"\nThe {len(ap50)} baselines reach AP50 {span}; below {floor:.0f} a row reads `undertrained`.\n"
    text += f"\n### All comparisons together\n\n{scorecard_section(found)}"
    return text


def sizes_section(results: Results) -> str:
    """Return the preset's sizes as a table."""
    preset = results.preset
    model, small, large = preset.model, 32 * preset.pixel_factor, 96 * preset.pixel_factor
    pretrained = preset.init_source == "pretrain"
    rows = {
        "Data": f"{data_of(results)}; {_images(results)}",
        "Lengths": f"the papers' times {preset.factor:g}: their short side of 800 px is {round(800 * preset.factor)} "
        "px",
        "Object sizes": f"small below {small:.1f} px, large from {large:.1f} px{_own_sizes(preset)}",
        "Network": f"width x{model.width:g}, depth x{model.depth:g} with at least {model.min_blocks} blocks a stage",
        "Training of 1x": _training(results),
        "Initial weights": "pre-trained here" if pretrained else "torchvision's ImageNet weights",
        "Blocks": _blocks(preset),
    }
    if preset.shares:
        rows["Baselines"] = "; ".join(shared_trainings(results))
    columns = [md.Column("What", lambda what: what), md.Column(f"Preset {preset.name}", rows.__getitem__)]
    return md.table(columns, rows)


def data_section(results: Results) -> str:
    """Return the scale statistics of the data against what COCO has."""
    comparison = (found_json(paths.statistics(results.name)) or {}).get("comparison")

    def shown(key: str, row: dict[str, Any]) -> str:
        return md.percent(row[key]) if "share" in row["name"] else md.number(row[key], 3)

    def name(row: dict[str, Any]) -> str:
        return f"{md.statistic_name(row['name'])}{', %' if 'share' in row['name'] else ''}"

    columns = [
        md.Column("Scale statistic", name),
        md.Column("COCO", partial(shown, "wanted"), "r"),
        md.Column("Here", partial(shown, "achieved"), "r"),
        md.Column("Tolerance", lambda row: f"± {shown('tolerance', row)}", "r"),
        md.Column("Within", lambda row: "yes" if row["within"] else "no"),
    ]
    text = "![Scale statistics](figures/statistics.png)\n\nOf the training images; sizes by mask area.\n\n"
    if results.preset.data.categories:
        text += "Some categories alone are kept, so fewer images hold an object of a size than in the whole data.\n\n"
    return text + (md.table(columns, comparison) if comparison else "Statistics were not computed yet.\n")


def pages_section(results: Results) -> str:
    text = "- [This page as HTML](index.html): tables that sort, pictures inside; links lead to files beside it\n"
    text += "".join(f"- [{NAMES[paper]}](papers/{paper}.md)\n" for paper in paths.PAPERS)
    if results.published_images():
        drawn = [paper for paper in PAIRS if (paths.gallery(results.name) / f"{paper}.png").is_file()]
        links = md.listing([f"[{NAMES[paper]}](gallery/{paper}.md)" for paper in drawn])
        text += f"- Galleries of {links}: annotations, baseline and method on the same images\n" if drawn else ""
    else:
        text += f"- Galleries: `{paths.gallery(results.name).as_posix()}` on the machine that ran this, not in git\n"
    text += f"- [How results are measured and judged]({HOW}), said once for all pages\n"
    text += "- [Data](data.md): what was read, and what was left out and why\n"
    return text + (WHOLE if results.reproduces() else LATER) if results.judges else text


def commands(results: Results) -> str:
    text = "```sh\n"
    if not results.judges:
        text += "make quickstart    # after an edit in the checkout: what it changed, again\n"
        return text + "make headline      # the rows of reports/mini, which end in verdicts\n```\n"
    text += "make headline                        # this page from a fresh clone\n"
    text += "dvc repro                            # every table, then reports/PRESET/catalogue.md\n"
    text += f"snakemake --cores 2 {paths.table(results.name, 'dst_t2').as_posix()}    # one table, in parallel\n```\n\n"
    text += "Own data: name your images and annotations in `workflow/presets/own.yaml`, set `preset: own` in "
    return text + "`params.yaml`, and run `make own`; the README has the details.\n"


def _address(method: Method) -> str:
    """Return where a method leads: to its table, or to the file of one that stands in none."""
    if method.table:
        return f"headline/{method.table}.md"
    return f"../../{paths.experiment_file(paths.split_evaluation(method.evaluation)[0]).as_posix()}"


def _order(method: Method) -> tuple[bool, float]:
    gain = method.gains[METRIC].gain
    return gain is None, -(gain or 0.0)


def _images(results: Results) -> str:
    """Return how many images trainings see, and on how many the rows above were tested."""
    splits = (found_json(paths.statistics(results.name)) or {}).get("splits", {})
    names = {line.evaluation for line in read_headlines(results.name, headline_tables()) if line.kind == "row"}
    tested = {found["images"] for name in sorted(names) if (found := results.metrics(name))}
    parts = [f"{splits['train']['images']:,} training images"] if splits else []
    parts += [f"{number:,} validation images" for number in sorted(tested)]
    return ", ".join(parts) or "not counted yet"


def _own_sizes(preset: Preset) -> str:
    """Return the boundaries of what is counted and scored by class, where they are not those of the tables."""
    if preset.sizes == "coco":
        return ""
    return f"; in data.md and compare.md below {preset.sizes[0]:.6g} px and from {preset.sizes[1]:.6g} px"


def _blocks(preset: Preset) -> str:
    """Return how many trainings an experiment has, each from a pre-training of its own."""
    rest = f"{md.plural(preset.blocks, 'training')} of each experiment"
    few = "".join(f", {count} of those on {neck.upper()}" for neck, count in preset.neck_blocks.items())
    return f"{rest}, {preset.headline_blocks} of those above{few}" if preset.headline_blocks else rest


def _training(results: Results) -> str:
    training = results.preset.training
    steps = f"{training.steps:,} steps" if training.steps else "the recipe's length"
    batch = f"batches of {training.batch} images" if training.batch else "the recipe's batch"
    return f"{steps}, {batch}, learning rate {training.lr or 'of the recipe'}"
