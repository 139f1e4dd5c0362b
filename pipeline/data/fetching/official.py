"""Numbers of images stated by the publishers of COCO and PASCAL VOC, compared with those that verification found."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.data.verification_page import table
from pipeline.preset import Data, Source

COCO = {
    "instances_train2014.json": 82_783,
    "instances_val2014.json": 40_504,
    "instances_trainval35k.json": 118_287,
    "instances_minival.json": 5_000,
    "instances_train2017.json": 118_287,
    "instances_val2017.json": 5_000,
}
VOC = {
    ("2007", "train"): 2_501,
    ("2007", "val"): 2_510,
    ("2007", "trainval"): 5_011,
    ("2007", "test"): 4_952,
    ("2012", "train"): 5_717,
    ("2012", "val"): 5_823,
    ("2012", "trainval"): 11_540,
}


class Comparison(NamedTuple):
    """One split: its number of images here, including those left out for want of a file, and as published."""

    split: str
    name: str
    here: int
    left_out: int
    published: int

    @property
    def agrees(self) -> bool:
        """Whether the split is complete."""
        return self.here == self.published and not self.left_out

    @property
    def sentence(self) -> str:
        """What is wrong with the split."""
        missing = f", {self.left_out} of them without a file" if self.left_out else ""
        return (
            f"{self.name} has {self.here + self.left_out} images{missing}; its publisher counts {self.published}: "
            "results on it are not comparable with the papers'."
        )


def compare_counts(data: Data, manifest: Mapping) -> list[Comparison]:
    """Return a comparison for every split whose published count is known from its file's name or VOC's years."""
    found = []
    for split in ("train", "val"):
        entry, source = manifest["splits"][split], getattr(data, split)
        name, published = published_images(data.kind, source)
        if published is not None:
            left_out = entry["excluded"].get("missing_image", 0)
            found.append(Comparison(split, name, entry["images"], left_out, published))
    return found


def published_images(kind: str, source: Source) -> tuple[str, int | None]:
    """Return a split's name and its published number of images, None where that is not known."""
    if kind == "coco":
        name = Path(source.annotations).name
        return name, COCO.get(name)
    counts = [VOC.get((year.removeprefix("VOC"), source.split)) for year in source.years]
    name = f"VOC {'+'.join(source.years)} {source.split}"
    return name, None if not counts or None in counts else sum(counts)


def counts_section(comparisons: list[Comparison]) -> str:
    """Return the comparisons' section of the verification page, empty where there are none."""
    if not comparisons:
        return ""
    rows = [[c.split, c.name, str(c.here), str(c.published), "whole" if c.agrees else c.sentence] for c in comparisons]
    head = ["split", "name", "images here", "published", ""]
    return "\n".join(["## Against the publishers' counts", "", *table(head, rows, numbers_from=2)]) + "\n"
