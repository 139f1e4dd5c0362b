"""What verification leaves out of a data set or changes in it: reasons, counts and examples."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES_KEPT = 5
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Reason:
    """One reason in words: what was found and what was done about it.

    `warns` says from which share of a split's boxes or images on verification warns of it on the screen (0: always;
    None: it was asked for, or changes nothing).
    """

    found: str
    done: str
    left_out: bool
    warns: float | None = 0.1
    of: str = "boxes"  # that are counted, or `images`, or `` where it is neither


DEGENERATE = "box with a zero, negative, tiny (< 0.01 pixels) or non-finite side"
NO_AREA = "area that is no number of square pixels up to the box's"
FIT_BOTH = "image with an EXIF orientation whose boxes fit turned and as stored"
REASONS: dict[str, Reason] = {
    "degenerate_box": Reason(DEGENERATE, "left out", True),
    "box_outside": Reason("box wholly outside its image", "left out", True),
    "missing_image": Reason("image file that does not exist", "left out with its annotations", True, of="images"),
    "annotation_of_missing_image": Reason("annotation of an image that was left out", "left out", True),
    "bad_mask": Reason("mask that is no polygon or run-length code of this image", "mask left out, box kept", True),
    "bad_mask_part": Reason("polygon of a mask without area or with impossible points", "polygon left out", True),
    "other_category": Reason("annotation of a category that `categories` does not name", "left out", True, None),
    "mac_companion": Reason("companion that a Mac writes beside a file (._name)", "left out", True, None, ""),
    "clipped": Reason("box partly outside its image", "kept, cut to the image", False),
    "one_quarter": Reason(
        "box of a file whose boxes all lie in the left upper quarter of their images",
        "kept; percent, or pixels of smaller copies?",
        False,
        0,
    ),
    "bad_area": Reason(NO_AREA, "kept, area computed from mask or box", False),
    "size_from_file": Reason("image entry without width or height", "kept, size read from file", False, None, "images"),
    "exif_rotated": Reason(
        "image annotated upright but stored rotated (EXIF)", "kept, rotated when loaded", False, None, "images"
    ),
    "exif_ignored": Reason(
        "image with an EXIF orientation, annotated as stored", "kept, orientation ignored", False, None, "images"
    ),
    "assumed_stored": Reason(
        FIT_BOTH, "taken as annotated as stored (`exif: upright` under `data` changes it)", False, 0, "images"
    ),
    "assumed_upright": Reason(
        FIT_BOTH, "taken as annotated upright (`exif: stored` under `data` changes it)", False, 0, "images"
    ),
    "deep_colour": Reason("image of 16 bits a colour", "kept, its upper 8 bits are read", False, 0, "images"),
    "first_of_several": Reason(
        "image file of several pictures (animation, pages)", "kept, the first one is read", False, 0, "images"
    ),
    "scaled_grey": Reason("16-bit or float picture", "kept, grey values scaled to 8 bits", False, 0, "images"),
    "repeated_file": Reason(
        "image file listed under several ids", "kept as one image with the boxes of all", False, 0, "images"
    ),
    "category_not_in_train": Reason("annotation of a category that train does not list", "kept", False),
    "joined_category": Reason("category of the same name as another", "joined with it", False, 0, ""),
    "tidied_name": Reason(
        "category name with line ends, outer blanks or another Unicode form", "tidied", False, None, ""
    ),
    "repeated_id": Reason("annotation id that another annotation has too", "kept, renumbered", False, None),
    "renumbered": Reason(
        "annotation id below 1 (COCO's evaluation reads 0 as unmatched)", "all ids renumbered", False, None
    ),
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
