"""The first page of a preset: which method helps small objects here, and can one tell."""

from __future__ import annotations

from statistics import median

from pipeline import paths
from pipeline.files import read_json, write_text
from pipeline.published.papers import NAMES, PAIRS
from pipeline.reporting import markdown as md
from pipeline.reporting.context import DATA, comparability, numbers_of
from pipeline.reporting.sources import table_address
from pipeline.reporting.summary import Counts, Method, baseline_ap50, count_verdicts, methods_of, read_table
from pipeline.verdicts.comparison import headline_tables
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import DECIDED

METRIC = "ap_small"
# made by `dvc repro`, which needs every experiment; the quickstart leaves them as they are
WHOLE = """\
- [All tables](catalogue.md): each published row beside ours, with its experiment, command and cost
- [Claims](claims.md), [methods side by side](methods.md), [the papers' figures](paper_figures/README.md) and
  [model cards](cards/README.md): from the whole catalogue, `dvc repro`
"""
LATER = "- `dvc repro` adds `catalogue.md`, `claims.md`, `methods.md`, `paper_figures` and `cards`: all experiments\n"


def write_index(preset: str) -> None:
    """Write `index.md` of a preset."""
    write_text(paths.index(preset), index_page(Results(preset)))


def index_page(results: Results) -> str:
    """Return the page; its first screen is the answer."""
    methods = methods_of(results.name, headline_tables(), headline=True)
    text = f"# Scalewise, preset {results.name}\n\n**Which method helps small objects here, and can one tell?**\n\n"
    text += "".join(f"- {line}\n" for line in answer(results, methods)) + "\n"
    text += md.table(
        ["Method", "AP", "AP small gain", "Verdict, small", "AP gain", "Verdict, AP", "Parameters, multiply-adds"],
        [method_row(method) for method in sorted(methods, key=_order)],
        "lrrlrlr",
    )
    text += (
        "\nAP in percent, gains in points over the method's own baseline with 95 % intervals, cost as a multiple of "
    )
    text += "that baseline's. Of twenty methods that do nothing, one reads as decided by chance.\n"
    text += f"\n## Run and decided\n\n{decided_section(results)}"
    text += f"\n## Gain by object size\n\n![Gain by object size](figures/ap_by_size.png)\n\n{comparability(results)} "
    text += "[Data](figures/ap_by_size.csv).\n"
    text += f"\n## Sizes\n\n{sizes_section(results)}\n## Data\n\n{data_section(results)}"
    text += f"\n## Pages\n\n{pages_section(results)}\n## Go on\n\n{commands(results)}"
    return text


def answer(results: Results, methods: list[Method]) -> list[str]:
    """Return a few lines: what helps, what hurts, what cannot be told, what could be, and what these are."""
    small = {method: method.gains[METRIC] for method in methods}
    decided = [m for m in methods if small[m][3] in DECIDED]
    up = [m for m in decided if small[m][0] > 0 and not m.stand_in]
    down = [m for m in decided if small[m][0] < 0 and not m.stand_in]
    if up:
        best = sorted(up, key=lambda m: -small[m][0])
        lines = ["**Helps:** " + "; ".join(f"{m.name} {md.gain(*small[m][:3])}" for m in best) + " points of AP small."]
    elif any(gain is not None for gain, *_ in small.values()):
        lines = ["**No:** of no method can it be told that it raises the AP of small objects here."]
    else:
        lines = ["**Nothing was run yet** under this preset."]
    if down:
        worst = "; ".join(f"{m.name} {md.gain(*small[m][:3])}" for m in sorted(down, key=lambda m: small[m][0]))
        lines.append(f"**Hurts:** {worst} points.")
    for method in (m for m in decided if m.stand_in):
        lines.append(
            f"**Decided, but not over the paper's baseline:** {method.name} {md.gain(*small[method][:3])}, where "
            f"`{method.baseline}` may have trained less. `dvc repro {table_address(method.table)}` takes the paper's."
        )
    rest: dict[str, list[str]] = {}
    for method in methods:
        if small[method][3] not in DECIDED:
            rest.setdefault(small[method][3], []).append(method.name)
    if rest:
        parts = [f"{word}: {md.listing(names)}" for word, names in sorted(rest.items(), reverse=True)]
        lines.append(f"**One cannot tell:** {'; '.join(parts)}.")
    widths = [(high - low) / 2 for _, low, high, _ in small.values() if low is not None]
    if widths:
        points = md.plural(len(widths), "method")
        lines.append(
            f"A gain in AP small must exceed about {median(widths):.1f} points to be seen (median of {points})."
        )
    elif any(gain is not None for gain, *_ in small.values()):
        lines.append("Nothing can be decided: the run-to-run noise of this preset is not in `data/noise.json`.")
    return [*lines, f"{numbers_of(results)} {comparability(results)}"]


def method_row(method: Method) -> list[str]:
    cells = [f"[{md.cell(method.name)}](headline/{method.table}.md)"]
    cells.append(md.NOT_RUN if method.ap is None else md.number(method.ap))
    for metric in (METRIC, "ap"):
        gain, low, high, word = method.gains[metric]
        cells += [md.gain(gain, low, high) if gain is not None else "", word]
    costs = [method.costs.get(f"{key}_ratio") for key in ("parameters_total", "macs")]
    return [*cells, ", ".join(f"{cost}x" if cost else md.MISSING for cost in costs)]


def decided_section(results: Results) -> str:
    """Return counts for each table of the quickstart, and how well the baselines learnt."""
    rows, compared, decided = [], 0, 0
    for name in headline_tables():
        row, counts = count_row(results, name, headline=True)
        rows.append(row)
        compared, decided = compared + counts.compared, decided + counts.decided
    text = f"Decided by AP: **{decided} of {compared}** compared rows.\n\n"
    text += md.table(["Table", "Compared", "Decided", "Verdicts", "Not run"], rows, "lrrlr")
    found = baseline_ap50(results.name, headline_tables(), headline=True)
    if found:
        span = f"{found[0]:.1f}" if found[0] == found[-1] else f"{found[0]:.1f} to {found[-1]:.1f}"
        floor = 100 * results.preset.verdicts.min_baseline_ap50
        text += f"\nThe {len(found)} baselines reach AP50 {span}; below {floor:.0f} a row reads `undertrained`.\n"
    return text


def count_row(results: Results, name: str, headline: bool = False) -> tuple[list[str], Counts]:
    """Return the line of one table in a list of tables, and its counts."""
    lines = read_table(results.name, name, headline)
    main = next((line["metric"] for line in lines if line["kind"] == "row"), "ap")
    counts = count_verdicts(lines, main)
    words = ", ".join(f"{count} {word}" for word, count in counts.words.items())
    scales = {line["verdict"] for line in lines if line["kind"] == "scale"}
    words = words or (f"learnt scales: {', '.join(sorted(scales))}" if scales else "not made" if not lines else "")
    folder = "headline" if headline else "tables"
    label = f"[{name}]({folder}/{name}.md)" if lines else name
    return [label, str(counts.compared), str(counts.decided), words, str(counts.not_run)], counts


def sizes_section(results: Results) -> str:
    """Return the preset's sizes as a table."""
    preset = results.preset
    rows = [
        ["Data", f"{DATA[preset.data.kind]}; {_images(results)}"],
        [
            "Lengths",
            f"the papers' times {preset.factor:g}: their short side of 800 px is {round(800 * preset.factor)} px",
        ],
        [
            "Object sizes",
            f"small below {32 * preset.pixel_factor:.1f} px, large from {96 * preset.pixel_factor:.1f} px",
        ],
        ["Network", f"width x{preset.model.width:g}, {preset.model.max_blocks or 'all'} blocks a stage at most"],
        ["Training of 1x", _training(results)],
        [
            "Initial weights",
            "pre-trained here" if preset.init_source == "pretrain" else "torchvision's ImageNet weights",
        ],
        ["Seeds", "one training of each experiment, several where a method's name says so"],
    ]
    return md.table(["What", f"Preset {preset.name}"], rows)


def data_section(results: Results) -> str:
    """Return the scale statistics of the data against what COCO has."""
    path = paths.metrics(results.name, "statistics")
    text = "![Scale statistics](figures/statistics.png)\n\n"
    comparison = read_json(path).get("comparison", []) if path.is_file() else []
    rows = []
    for row in comparison:
        share = "share" in row["name"]
        wanted, achieved, tolerance = (
            md.percent(row[key]) if share else md.number(row[key], 3) for key in ("wanted", "achieved", "tolerance")
        )
        rows.append([f"{md.statistic_name(row['name'])}{', %' if share else ''}", wanted, achieved, f"± {tolerance}"])
        rows[-1].append("yes" if row["within"] else "no")
    header = ["Scale statistic", "COCO", "Here", "Tolerance", "Within"]
    return text + (md.table(header, rows, "lrrrl") if rows else "Statistics were not computed yet.\n")


def pages_section(results: Results) -> str:
    text = "".join(f"- [{NAMES[paper]}](papers/{paper}.md)\n" for paper in paths.PAPERS)
    if results.published_images():
        links = md.listing([f"[{NAMES[paper]}](gallery/{paper}.md)" for paper in PAIRS])
        text += f"- Galleries of {links}: annotations, baseline and method on the same images\n"
    else:
        text += f"- Galleries: `{paths.gallery(results.name).as_posix()}` on the machine that ran this, not in git\n"
    text += "- [Data](data.md): what was read, and what was left out and why\n"
    return text + (WHOLE if results.reproduces() else LATER)


def commands(results: Results) -> str:
    text = "```sh\n"
    text += "make quickstart                      # this page from a fresh clone\n"
    text += "dvc repro                            # every table, then reports/PRESET/catalogue.md\n"
    text += f"snakemake --cores 2 {paths.table(results.name, 'dst_t2').as_posix()}    # one table, in parallel\n```\n\n"
    text += "Own data: name your images and annotations in `workflow/presets/own.yaml`, set `preset: own` in "
    return text + "`params.yaml`, and run `dvc repro quickstart`; the README has the details.\n"


def _order(method: Method) -> tuple[bool, float]:
    gain = method.gains[METRIC][0]
    return gain is None, -(gain or 0.0)


def _images(results: Results) -> str:
    path = paths.metrics(results.name, "statistics")
    splits = read_json(path).get("splits", {}) if path.is_file() else {}
    parts = [f"{split['images']:,} {name} images" for name, split in sorted(splits.items())]
    return ", ".join(parts) or "not counted yet"


def _training(results: Results) -> str:
    training = results.preset.training
    steps = f"{training.steps:,} steps" if training.steps else "the recipe's length"
    batch = f"batches of {training.batch} images" if training.batch else "the recipe's batch"
    return f"{steps}, {batch}, learning rate {training.lr or 'of the recipe'}"
