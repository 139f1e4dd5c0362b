"""Images and their objects as another form's reader found them, before they are checked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Records:
    """One part of a data set: its images below `root`, each with its objects, which have a `name` for their class."""

    root: Path
    names: list[str]  # of the classes
    images: list[dict[str, Any]] = field(default_factory=list)  # `file_name` and, where known, `width` and `height`
    objects: list[list[dict[str, Any]]] = field(default_factory=list)  # of each image
    remarks: list[str] = field(default_factory=list)

    def add(self, path: Path, objects: list[dict[str, Any]], size: dict[str, int] | None = None) -> None:
        """Add an image by its path below `root`."""
        self.images.append({"file_name": path.relative_to(self.root).as_posix(), **(size or {})})
        self.objects.append(objects)

    def each(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Give the images' names with their objects."""
        return zip((image["file_name"] for image in self.images), self.objects, strict=True)

    @property
    def paths(self) -> set[Path]:
        """The image files."""
        return {self.root / image["file_name"] for image in self.images}

    def coco(self, names: list[str]) -> dict[str, Any]:
        """Return the part as an instances file's content; categories have the ids 1, 2, ... in the order of names."""
        ids = {name: number for number, name in enumerate(names, start=1)}
        found = [(number, one) for number, objects in enumerate(self.objects, start=1) for one in objects]
        return {
            "images": [{"id": number, **image} for number, image in enumerate(self.images, start=1)],
            "annotations": [
                {"id": key, "image_id": image, "category_id": ids[one["name"]]}
                | {name: value for name, value in one.items() if name != "name"}
                for key, (image, one) in enumerate(found, start=1)
            ],
            "categories": [{"id": number, "name": name} for name, number in ids.items()],
        }
