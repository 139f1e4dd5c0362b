"""What verification leaves out of a data set or changes in it: reasons, counts and examples."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES_KEPT = 5
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Reason:
    """One reason in words: what was found and what was done about it."""

    found: str
    done: str
    left_out: bool


REASONS: dict[str, Reason] = {
    "degenerate_box": Reason("box with a zero, negative, tiny (< 0.01 pixels) or non-finite side", "left out", True),
    "box_outside": Reason("box wholly outside its image", "left out", True),
    "missing_image": Reason("image file that does not exist", "left out with its annotations", True),
    "annotation_of_missing_image": Reason("annotation of an image that was left out", "left out", True),
    "bad_mask": Reason("mask that is no polygon or run-length code of this image", "mask left out, box kept", True),
    "bad_mask_part": Reason("polygon of a mask without area or with impossible points", "polygon left out", True),
    "other_category": Reason("annotation of a category that `categories` does not name", "left out", True),
    "clipped": Reason("box partly outside its image", "kept, cut to the image", False),
    "bad_area": Reason("area that is zero, negative or not finite", "kept, area computed from mask or box", False),
    "size_from_file": Reason("image entry without width or height", "kept, size read from the file", False),
    "exif_rotated": Reason("image annotated upright but stored rotated (EXIF)", "kept, rotated when loaded", False),
    "exif_ignored": Reason("image with an EXIF orientation, annotated as stored", "kept, orientation ignored", False),
    "repeated_file": Reason("image file listed under several ids", "kept", False),
    "category_not_in_train": Reason("annotation of a category that train does not list", "kept", False),
    "renumbered": Reason("annotation id below 1 (COCO's evaluation reads 0 as unmatched)", "all ids renumbered", False),
}


@dataclass
class Exclusions:
    """Counts of reasons, with the first few examples of each."""

    counts: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        """Count one case of one of REASONS."""
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}; add it to REASONS.")
        self.counts[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(example)


def shown(value: Any) -> str:
    """Return a value for a sentence: its repr, printable everywhere and cut to a readable length."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        text = "a huge number"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
