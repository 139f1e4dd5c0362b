"""The sources of a preset's data: the embedded generator, a COCO-format folder, or a VOC folder."""

from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.data.verify import Source, verify
from pipeline.errors import InputError
from pipeline.preset import Data, Preset

PHOTOGRAPHS = Path("data/photographs")  # of the sets that the fetch stage brings
NOTE = "This preset reads its images from the paths in workflow/presets/{name}.yaml; nothing is made here.\n"


def synthesize(preset: Preset) -> None:
    """Write the preset's ScaleWorld scenes in COCO form to `paths.raw`, or a note where the data is elsewhere."""
    folder = paths.raw(preset.name)
    folder.mkdir(parents=True, exist_ok=True)
    if preset.data.kind != "scaleworld":
        (folder / "README.txt").write_text(NOTE.format(name=preset.name), encoding="utf-8")
        return
    from pipeline.data.scaleworld.scenes import write_split

    for split, count in (("train", preset.data.train_images), ("val", preset.data.val_images)):
        if count < 1:
            raise InputError(f"Preset {preset.name}: data.{split}_images is {count}; ScaleWorld needs at least 1.")
        write_split(folder, split, count, preset.data.seed, preset.factor)


def verify_preset(preset: Preset, dataset: str = "coco") -> dict[str, Any]:
    """Check the data of experiments on `dataset`, write its normalised form and manifest, and return the manifest.

    Raises:
        InputError: the first mistake in the data.
    """
    data = preset.data_of(dataset)
    if data.kind == "scaleworld":
        folder = paths.raw(preset.name)
        sources = {
            split: Source(folder / f"annotations/instances_{split}.json", folder / f"images/{split}")
            for split in ("train", "val")
        }
    else:
        own = dataset in (preset.datasets or {})
        place = f"workflow/presets/{preset.name}.yaml: {f'datasets.{dataset}' if own else 'data'}"
        sources = {split: named_source(data, split, place) for split in ("train", "val")}
        for path in (sources["train"].voc_root, sources["train"].images_root):
            if path is not None and path.is_relative_to(PHOTOGRAPHS) and not path.is_dir():
                command = f"python -m pipeline.stages.fetch --preset {preset.name}"
                raise InputError(f"{path.as_posix()} is not there; run `{command}` to bring the photographs.")
    out = paths.manifest(preset.name, dataset).parent
    return verify(
        preset.name,
        data.kind,
        sources,
        preset.pixel_factor,
        out,
        rules=data,
        keep=data.categories,
        seed=data.seed if data.kind == "scaleworld" else None,
    )


def named_source(data: Data, split: str, where: str) -> Source:
    """Return the source of a split as the preset names it at `where`; raise InputError where it names too little."""
    place, named = f"{where}.{split}", getattr(data, split)
    if data.kind == "voc":
        if not (named.voc and named.split):
            raise InputError(f"{place} must name `voc` (the VOCdevkit folder) and `split`, found {named!r}.")
        return Source(voc_root=Path(named.voc), voc_split=named.split, voc_years=named.years)
    if not (named.images and named.annotations):
        raise InputError(f"{place} must name `images` (a folder) and `annotations` (an instances JSON); add both.")
    return Source(Path(named.annotations), Path(named.images))
