"""Page of the annotation statistics: what the papers say of COCO's objects, what is counted here, and verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline import markdown as md
from pipeline.published.bounds import Bound
from pipeline.published.tables import load_published

AGREES, DIFFERS, NOT_MEASURED = "agrees", "differs", "not measured"
COMMAND = "python -m pipeline.benchmarks.annotation_statistics --labels DIR"
CHIPS = (
    "Objects with sqrt(w h) <= 80 px in images that hold one, at 1400x2000. `sampled` is SNIP's way (best of 50 random "
    "chips, snapped to the borders, until all objects are covered), `grid` SNIPER's greedy cover by a grid's chips, 56 "
    "pixels apart. How SNIP draws corners is not printed; here they are uniform over half a chip beyond each border, "
    "then snapped."
)
EPOCHS = (
    "An image is an input once for each chip, or for each resolution at which it has an object in range. Without "
    "ranges it is one at every resolution. Pixels stand for the time, which doubles in the paper."
)
SIZES = (
    "A size is the root of the box's area (`boxes`) or of the mask's (`masks`); small is below 32 px, large from 96. "
    "Images are those that hold an object. Mask areas that are not annotated in these labels are the box's area times "
    "its category's median ratio, an estimate that the tolerance of shares allows for."
)
SCALES = (
    "sqrt(area / image area) of every object, SNIP's figure 1, as sqrt(w h / (W H)) (`boxes`) and of mask areas. "
    "ImageNet's boxes are no part of this project's data."
)
ANCHORS = (
    "15 anchors (32 to 512 px, ratios 0.5, 1 and 2, rounded as in Faster R-CNN's public code) every 16 px at 800x1200; "
    "anchors that reach out of the image count."
)


@dataclass(frozen=True)
class Row:
    """One printed number beside ours.

    `ours` holds a value for every data set and definition, None where it cannot be had. With the rule `within`, a value
    agrees where it is at most `tolerance` away from the printed one, with `above` where it is larger, with `almost`
    where it falls short of it by a fifth at most. Where the sentence names a definition, `by`, only that one counts.
    """

    section: Literal["chips", "epochs", "sizes", "scales", "anchors"]
    claim: str
    what: str
    published: float
    tolerance: float
    ours: dict[str, float | None] = field(default_factory=dict)
    digits: int = 3
    rule: Literal["within", "above", "almost"] = "within"
    by: str = ""  # how a column's name ends

    @property
    def bound(self) -> Bound:
        """What the sentence allows a value to be."""
        if self.rule == "within":
            return Bound(about=self.published, within=self.tolerance)
        return Bound(above=self.published) if self.rule == "above" else Bound(almost=self.published)

    @property
    def counted(self) -> dict[str, float]:
        """The values of the definition that the sentence names, of all where it names none."""
        return {name: value for name, value in self.ours.items() if value is not None and name.endswith(self.by)}


def judged(row: Row) -> dict[str, Any]:
    """Return a row with its verdict: the columns that agree, and in a word whether all, some or none do."""
    values = row.counted
    fits = [column for column, value in values.items() if row.bound.holds(value)]
    some = f"{AGREES} with {md.listing(fits)}"
    verdict = NOT_MEASURED if not values else AGREES if len(fits) == len(values) else some if fits else DIFFERS
    return asdict(row) | {"fits": fits, "verdict": verdict}


def annotations_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of `pipeline.benchmarks.annotation_statistics`'s result."""
    rows = result["rows"]
    counts = {word: sum(row["verdict"].startswith(word) for row in rows) for word in (AGREES, DIFFERS, NOT_MEASURED)}
    text = "# What the papers say of COCO's annotations, counted again\n\n"
    text += f"Of {md.plural(len(rows), 'printed number')}, {counts[AGREES]} agree under a stated definition, "
    text += f"{counts[DIFFERS]} differ, {counts[NOT_MEASURED]} cannot be measured here. Verdicts read `{AGREES}` where "
    text += "every column keeps what the sentence allows, and name the columns where only some do; `almost` is a fifth "
    text += "short of it at most, and where a sentence names its definition no other counts.\n\n"
    text += labels_part(result["labels"])
    text += f"\n## Chips an image (SNIP, section 6.2)\n\n{CHIPS}\n\n" + table(rows, "chips")
    text += "\n" + chips_part(result["chips"])
    text += f"\n## Inputs of an epoch (SNIP, section 7.1)\n\n{EPOCHS}\n\n" + table(rows, "epochs")
    text += "\n" + units_part(result["units"])
    text += f"\n## Small, medium and large (DST, section 3.1; SNIP, section 5)\n\n{SIZES}\n\n" + table(rows, "sizes")
    text += "\n" + which_area(rows)
    text += f"\n## Scale relative to the image (SNIP, figure 1)\n\n{SCALES}\n\n" + table(rows, "scales")
    text += "\n![Share of objects below each relative scale](annotation_statistics.png)\n\n"
    text += "[Data of the figure](annotation_statistics.csv).\n"
    text += f"\n## Anchors (SNIP, section 7.2)\n\n{ANCHORS}\n\n" + table(rows, "anchors")
    text += "\n" + anchors_part(rows, result["anchors"])
    return text + f"\nMade by `{COMMAND}`; [numbers](annotation_statistics.json).\n"


def table(rows: list[dict[str, Any]], section: str) -> str:
    """Return one section's rows, with a column for every data set and definition."""
    shown = [row for row in rows if row["section"] == section]
    columns = [
        md.Column("", lambda row: row["what"]),
        md.Column("printed", lambda row: f"{row['published']:g}", "r"),
        *(
            md.Column(name, lambda row, name=name: md.number(row["ours"].get(name), row["digits"]), "r")
            for name in dict.fromkeys(name for row in shown for name in row["ours"])
        ),
        md.Column("allowed", allowed, "r"),
        md.Column("verdict", lambda row: row["verdict"]),
    ]
    return md.table(columns, shown)


def allowed(row: dict[str, Any]) -> str:
    """Return what a row allows: a distance, or its rule's word, and by which definition alone."""
    text = f"± {row['tolerance']:g}" if row["rule"] == "within" else row["rule"]
    return f"{text}, by {row['by']}" if row["by"] else text


def labels_part(labels: dict[str, dict]) -> str:
    """Say what was counted on."""

    def areas(name: str) -> str:
        annotated, objects = (labels[name][key] for key in ("mask_areas_annotated", "objects"))
        return "annotated" if annotated == objects else f"{annotated:,} annotated, others estimated from the box"

    def left_out(name: str) -> str:
        return md.listing([f"{count:,} {reason}" for reason, count in labels[name]["left_out"].items() if count])

    columns = [
        md.Column("labels", lambda name: name),
        md.Column("file", lambda name: f"`{labels[name]['source']}`"),
        md.Column("images", lambda name: f"{labels[name]['images']:,}", "r"),
        md.Column("objects", lambda name: f"{labels[name]['objects']:,}", "r"),
        md.Column("mask areas", areas),
        md.Column("left out", left_out),
    ]
    return md.table(columns, labels)


def chips_part(chips: dict[str, Any]) -> str:
    """Say how far seeds differ, and how many objects no chip holds."""
    lines = []
    for name, found in chips.items():
        for kind, counts in found.items():
            means = [mean for mean in counts["means"] if mean is not None]
            if not means:
                lines.append(f"- {name}, {kind}: no image holds an object of this size.\n")
                continue
            spread = f"{min(means):.3f} to {max(means):.3f}" if len(means) > 1 else f"{means[0]:.3f}"
            first = [(number, count) for number, count in enumerate(counts["histogram"][:6]) if count]
            shares = ", ".join(f"{number}: {md.percent(count / counts['images'])} %" for number, count in first)
            lines.append(
                f"- {name}, {kind}: {spread} over {md.plural(len(means), 'seed')}; {counts['images']:,} images, "
                f"{counts['objects']:,} objects, of which {counts['objects_that_fit_no_chip']:,} fit no chip. "
                f"Images by their number of chips: {shares}.\n"
            )
    return "".join(lines)


def units_part(units: dict[str, dict[str, float | None]]) -> str:
    """Return how often an image is an input in an epoch of SNIP, by resolution."""
    columns = [
        md.Column("resolution, inputs, objects in range", lambda level: level),
        *(md.Column(name, lambda level, name=name: md.number(units[name][level], 3), "r") for name in units),
    ]
    return md.table(columns, next(iter(units.values())))


def which_area(rows: list[dict[str, Any]]) -> str:
    """Say which definition DST's shares fit: its footnote says box areas."""
    shares = [row for row in rows if row["claim"].startswith("dst_")]
    distance: dict[str, float] = {}
    for column in shares[0]["ours"]:
        values = [row["ours"][column] for row in shares]
        if None not in values:
            gaps = [abs(value - row["published"]) for value, row in zip(values, shares, strict=True)]
            distance[column] = sum(gaps) / len(gaps)
    if not distance:
        return ""
    best = min(distance, key=distance.__getitem__)
    listed = ", ".join(f"{column} {gap:.1f}" for column, gap in distance.items())
    kind = best.rpartition(", ")[2]
    said = "its footnote says so" if kind == "boxes" else "although its footnote 3 says box area"
    return f"DST's four shares fit **{kind}** best, {said}: mean distance in points: {listed}.\n"


def anchors_part(rows: list[dict[str, Any]], anchors: dict[str, Any]) -> str:
    """Say at which IoU the printed share of the lower threshold is met."""
    found = {name: shares["iou_of_printed_share"] for name, shares in anchors.items()}
    values = [f"{value:.2f} on {name}" for name, value in found.items() if value is not None]
    printed = next(c for c in load_published("snip").claims if c.id == "snip_c14_anchor_match").values["pct_05"]
    return f"The printed {printed} % have an anchor at an IoU of {md.listing(values)}.\n" if values else ""
