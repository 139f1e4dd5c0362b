"""Labels as arrays: COCO's own files, gzipped and rebuilt ones, and files that are broken."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.labelled.sets import RATIOS, read_label_sets
from pipeline.errors import InputError

COCO = {
    "images": [
        {"id": 7, "file_name": "b.jpg", "width": 200, "height": 100},
        {"id": 3, "file_name": "a.jpg", "width": 40, "height": 50},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40], "area": 600.0, "iscrowd": 0},
        {"id": 2, "image_id": 3, "category_id": 5, "bbox": [0, 0, 10, 10], "area": 100.0, "iscrowd": 0}
        | {"area_src": "bbox", "area_est": 55.0},
        {"id": 3, "image_id": 3, "category_id": 5, "bbox": [0, 0, 40, 50], "area": 900.0, "iscrowd": 1},
        {"id": 4, "image_id": 3, "category_id": 5, "bbox": [5, 5, 0, 3], "area": 1.0, "iscrowd": 0},
    ],
    "categories": [{"id": 2, "name": "two"}, {"id": 5, "name": "five"}],
}


def save_boxes(folder: Path, **changes) -> None:
    arrays = {
        "image_id": [9, 4, 9, 8],
        "category_id": [2, 5, 5, 5],
        "bbox_xywh": [[0, 0, 10, 20], [1, 1, 4, 4], [0, 0, 8, 8], [0, 0, 3, 3]],
        "img_id": [9, 4],
        "img_width": [100, 50],
        "img_height": [80, 60],
    }
    np.savez(folder / "train2017_boxes_rebuilt.npz", **{k: np.array(v) for k, v in (arrays | changes).items()})
    (folder / RATIOS).write_text('{"2": 0.5, "5": 0.75}')


@pytest.mark.parametrize("name", ["instances_val2017.json", "instances_val2017.json.gz"])
def test_cocos_own_file(tmp_path: Path, name: str) -> None:
    text = json.dumps(COCO).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    (found,) = read_label_sets(tmp_path).values()
    assert (found.name, found.source) == ("val2017", name)
    assert found.sizes.tolist() == [[50, 40], [100, 200]]  # in the order of their ids
    assert found.rows.tolist() == [1, 0]
    assert found.boxes.tolist() == [[10, 20, 30, 40], [0, 0, 10, 10]]
    assert found.mask_areas.tolist() == [600, 55]  # an estimate goes before the box's area
    assert found.annotated.tolist() == [True, False]
    assert found.categories.tolist() == [2, 5]
    assert found.left_out == {"crowd": 1, "degenerate_box": 1}
    assert found.scales.tolist() == pytest.approx([(1200 / 20000) ** 0.5, (100 / 2000) ** 0.5])


def test_rebuilt_boxes_take_their_categorys_ratio(tmp_path: Path) -> None:
    save_boxes(tmp_path)
    (found,) = read_label_sets(tmp_path).values()
    assert found.name == "train2017"
    assert found.sizes.tolist() == [[80, 100], [60, 50]]
    assert found.rows.tolist() == [0, 1, 0]
    assert found.mask_areas.tolist() == [100, 12, 48]
    assert not found.annotated.any()
    assert found.left_out == {"unusable": 1}  # image 8 is none of the file's


def test_a_complete_file_goes_before_a_rebuilt_one(tmp_path: Path) -> None:
    save_boxes(tmp_path)
    (tmp_path / "instances_train2017.json").write_text(json.dumps(COCO))
    (tmp_path / "instances_val2017_rebuilt.json.gz").write_bytes(gzip.compress(json.dumps(COCO).encode()))
    assert [found.source for found in read_label_sets(tmp_path).values()] == [
        "instances_train2017.json",
        "instances_val2017_rebuilt.json.gz",
    ]


def test_broken_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no labels; put instances_val2017\.json"):
        read_label_sets(tmp_path)
    broken = tmp_path / "instances_val2017.json.gz"
    for content in (b"not gzip", gzip.compress(b"{"), gzip.compress(json.dumps(COCO).encode())[:-30]):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"instances_val2017\.json\.gz is no gzipped JSON"):
            read_label_sets(tmp_path)
    broken.write_bytes(gzip.compress(b"[]"))
    with pytest.raises(InputError, match="an instances file is one object"):
        read_label_sets(tmp_path)
    broken.unlink()
    save_boxes(tmp_path, category_id=[2, 5, 6, 5])
    with pytest.raises(InputError, match="has no ratio for category 6"):
        read_label_sets(tmp_path)
    (tmp_path / "train2017_boxes_rebuilt.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no file of rebuilt boxes"):
        read_label_sets(tmp_path)
