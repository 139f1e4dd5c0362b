"""trainval35k and minival from ids, on a set of six images made by hand."""

import json
from pathlib import Path

import pytest

from pipeline.data.coco_splits import rebuild_test_dev, rebuild_trainval35k
from pipeline.errors import InputError

CATEGORIES = [{"id": 18, "name": "dog"}]


def instances(folder: Path, name: str, ids: list[int]) -> None:
    """Write an instances file with one object an image, whose id is ten times the image's."""
    content = {
        "info": {"year": 2014},
        "images": [{"id": k, "file_name": f"COCO_{k:03}.jpg", "width": 8, "height": 6} for k in ids],
        "annotations": [{"id": 10 * k, "image_id": k, "category_id": 18, "bbox": [0, 0, 2, 2]} for k in ids],
        "categories": CATEGORIES,
    }
    (folder / f"instances_{name}.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    instances(tmp_path, "train2014", [1, 2])
    instances(tmp_path, "val2014", [3, 4, 5, 6])
    instances(tmp_path, "val2017", [6, 4])
    return tmp_path


def test_minival_is_val2017_and_trainval35k_the_rest(folder):
    assert rebuild_trainval35k(folder) == {"trainval35k": 4, "minival": 2}
    large = json.loads((folder / "instances_trainval35k.json").read_text())
    small = json.loads((folder / "instances_minival.json").read_text())
    assert [image["file_name"] for image in large["images"]] == [
        *("train2014/COCO_001.jpg", "train2014/COCO_002.jpg"),
        *("val2014/COCO_003.jpg", "val2014/COCO_005.jpg"),
    ]
    assert [annotation["id"] for annotation in large["annotations"]] == [10, 20, 30, 50]
    assert [image["file_name"] for image in small["images"]] == ["val2014/COCO_004.jpg", "val2014/COCO_006.jpg"]
    assert [annotation["id"] for annotation in small["annotations"]] == [40, 60]
    assert large["categories"] == small["categories"] == CATEGORIES
    assert large["info"] == {"year": 2014}


def test_an_image_of_val2017_that_val2014_lacks_is_an_error(folder):
    instances(folder, "val2017", [6, 7])
    with pytest.raises(InputError, match=r"instances_val2014\.json has no image 7, which val2017 has"):
        rebuild_trainval35k(folder)
    assert not (folder / "instances_minival.json").exists()


def test_an_image_of_both_parts_is_an_error(folder):
    instances(folder, "train2014", [1, 3])
    with pytest.raises(InputError, match="repeats 1 image ids of train2014"):
        rebuild_trainval35k(folder)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "does not exist"),
        ("{", "is not valid JSON"),
        ("[]", "has no list of images"),
        ('{"images": []}', "has no list of annotations"),
    ],
)
def test_files_that_are_none_are_named(folder, content, match):
    path = folder / "instances_train2014.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=f"instances_train2014.json {match}"):
        rebuild_trainval35k(folder)


def test_test_dev_becomes_an_instances_file_without_annotations(folder):
    info = {"images": [{"id": 9, "file_name": "9.jpg", "width": 8, "height": 6}], "categories": CATEGORIES}
    (folder / "image_info_test-dev2017.json").write_text(json.dumps(info))
    assert rebuild_test_dev(folder) == {"test_dev2017": 1}
    assert json.loads((folder / "test_dev2017.json").read_text()) == info | {"annotations": []}
