"""Crops of photographs' objects: a set of one category gets places without an object as its second class."""

import torch
from PIL import Image

from pipeline.data.crops import cut_objects
from pipeline.data.detection_set import DetectionSet


def white_squares(folder, categories: int) -> DetectionSet:
    """Return two black images of 64 x 64 with a white square of 16 in the corner, the second one's of category 2."""
    picture = Image.new("RGB", (64, 64))
    picture.paste((255, 255, 255), (0, 0, 16, 16))
    picture.save(folder / "a.png")
    box = {"bbox": [0, 0, 16, 16], "area": 256, "iscrowd": 0}
    return DetectionSet(
        {
            "images_root": str(folder),
            "images": [{"id": k, "file_name": "a.png", "width": 64, "height": 64} for k in (1, 2)],
            "annotations": [{"id": k, "image_id": k, "category_id": min(k, categories), **box} for k in (1, 2)],
            "categories": [{"id": k, "name": str(k)} for k in range(1, categories + 1)],
        }
    )


def test_crops_of_several_categories_show_their_objects(tmp_path):
    images, labels = cut_objects(white_squares(tmp_path, 2), 2, 8, seed=0)
    assert labels.tolist() == [0, 1]
    assert (images.flatten(1).amax(dim=1) == 255).all()


def test_one_category_is_told_from_places_without_an_object(tmp_path):
    images, labels = cut_objects(white_squares(tmp_path, 1), 2, 8, seed=0)
    assert labels.tolist() == [0, 1]
    assert torch.equal(images.flatten(1).amax(dim=1), torch.tensor([255, 0], dtype=torch.uint8))
