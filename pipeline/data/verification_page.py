"""The page that says what a verified data set contains, and what was left out and why."""

from collections.abc import Mapping
from dataclasses import asdict

from pipeline.data.exclusions import REASONS
from pipeline.data.manifest import MEDIUM_SIDE, SMALL_SIDE, Manifest
from pipeline.verbatim import short, verbatim

VOC_ELSEWHERE = (
    "The rows on PASCAL VOC are trained and tested on these data, as all others: the preset names none of VOC's own.\n"
)


def write_verification_page(manifest: Mapping | Manifest, voc: bool = False) -> str:
    """Return the Markdown text of `reports/<preset>/data.md` or `data_voc.md`; it names no folder of the machine."""
    data = asdict(manifest) if isinstance(manifest, Manifest) else manifest
    splits = data["splits"]
    count = len(data["categories"])
    categories = "1 category" if count == 1 else f"{count} categories"
    small, medium = data.get("sizes") or (SMALL_SIDE * data["factor"], MEDIUM_SIDE * data["factor"])
    whose = f"COCO's 32² and 96² at the preset's factor {data['factor']:.4g}"
    whose = f"the preset's own; {whose} in the papers' tables" if data.get("sizes") else whose
    seed = "" if data.get("seed") is None else f", seed {data['seed']}"
    return "\n".join(
        [
            f"# {'Data of the rows on PASCAL VOC,' if voc else 'Data of'} preset `{data['preset']}`",
            "",
            *([VOC_ELSEWHERE] if voc and data["kind"] != "voc" else []),
            f"Kind: {data['kind']}{seed}; {categories}. Every image was checked, every annotation read.",
            f"An object is small below {small:.6g}² and large from {medium:.6g}² square pixels on ({whose}); crowd and "
            "difficult regions are not objects.",
            "",
            "## Counts",
            "",
            *_counts(splits),
            "",
            *_shared(data.get("shared_images", 0)),
            "## Left out",
            "",
            *_reasons(splits, left_out=True),
            "",
            "## Kept, with a change or a remark",
            "",
            *_reasons(splits, left_out=False),
            "",
            "## Categories",
            "",
            *_categories(data["categories"], splits),
            "",
        ]
    )


def table(head: list[str], rows: list[list[str]], numbers_from: int) -> list[str]:
    """Return the lines of a Markdown table; columns from `numbers_from` on are aligned to the right."""
    marks = ["---" if column < numbers_from else "---:" for column in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in [head, marks, *rows]]


def _counts(splits: Mapping[str, Mapping]) -> list[str]:
    head = ["split", "images", "without objects", "objects", "crowd", "difficult", "with mask"]
    head += ["small", "medium", "large"]
    rows = []
    for name, entry in splits.items():
        row = [name, entry["images"], entry["images_without_objects"], entry["objects"], entry["crowd"]]
        row += [entry["difficult"], entry["masks"]]
        sizes = [f"{entry[size]} ({_share(entry[size], entry['objects'])})" for size in ("small", "medium", "large")]
        rows.append([str(value) for value in row] + sizes)
    return table(head, rows, numbers_from=1)


def _shared(count: int) -> list[str]:
    if not count:
        return []
    return [f"**{count} image file{'' if count == 1 else 's'} of another split also in train**, byte for byte.", ""]


def _reasons(splits: Mapping[str, Mapping], left_out: bool) -> list[str]:
    rows = []
    for name, entry in splits.items():
        for reason, count in entry["excluded"].items():
            if REASONS[reason].left_out == left_out:
                examples = "; ".join(verbatim(example) for example in entry["excluded_examples"][reason])
                rows.append([name, REASONS[reason].found, REASONS[reason].done, examples, str(count)])
    return table(["split", "what", "done", "examples", "count"], rows, numbers_from=4) if rows else ["Nothing."]


def _categories(categories: list[dict], splits: Mapping[str, Mapping]) -> list[str]:
    rows = [
        [str(category["id"]), str(category["original_id"]), short(category["name"])]
        + [str(entry["objects_per_category"][index]) for entry in splits.values()]
        for index, category in enumerate(categories)
    ]
    return table(["id", "id in the source", "name", *splits], rows, numbers_from=3)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "n/a"
