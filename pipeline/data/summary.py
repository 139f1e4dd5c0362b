"""What verification read, left out and changed, in lines for the screen; the page `data.md` has the rest."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.data.exclusions import REASONS, shown

NAMED = 5  # categories in one line


def summary(manifest: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the lines on a verified data set, each with whether it is a warning."""
    for name, entry in manifest["splits"].items():
        ignored = entry["crowd"] + entry["difficult"]
        yield (
            f"{name}: {entry['images']} images ({entry['images_without_objects']} without objects), {entry['objects']} "
            f"objects ({', '.join(f'{entry[size]} {size}' for size in ('small', 'medium', 'large'))})"
            + (f", {ignored} crowd or difficult" if ignored else ""),
            False,
        )
        yield from (remark(name, entry, reason) for reason in entry["excluded"])
        counts = list(zip(manifest["categories"], entry["objects_per_category"], strict=True))
        empty = [shown(category["name"]) for category, count in counts if not count]
        if empty:
            verb, more = "train on" if name == "train" else "score", " and more" if len(empty) > NAMED else ""
            named = ", ".join(empty[:NAMED]) + more
            yield (
                f"{name}: {len(empty)} of {len(manifest['categories'])} categories have no object to {verb}: {named}",
                True,
            )
    if manifest.get("shared_images"):
        yield f"{manifest['shared_images']} image file(s) of another split also in train, which flatters scores", True


def remark(name: str, entry: Mapping[str, Any], reason: str) -> tuple[str, bool]:
    """Return the line on one reason in one split, and whether it is a warning."""
    what, count, excluded = REASONS[reason], entry["excluded"][reason], entry["excluded"]
    lost = sum(excluded[other] for other in excluded if REASONS[other].left_out and REASONS[other].of == "boxes")
    whole = {"boxes": entry["annotations"] + lost, "images": entry["images"] + excluded.get("missing_image", 0)}
    share = f" of {whole[what.of]}" if what.of else ""
    warns = what.warns is not None and count > what.warns * whole.get(what.of, 0)
    example = entry["excluded_examples"][reason][0]
    return f"{name}: {count}{share} x {what.found}: {what.done}; first {example}", warns
