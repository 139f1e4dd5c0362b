"""Gallery: which images, which detections are right, and that the pictures are made the same way every time."""

import pytest
from PIL import Image

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import sha256, write_json
from pipeline.published.papers import PAIRS
from pipeline.reporting.gallery import write_gallery
from pipeline.reporting.gallery_choice import best_threshold, box_iou, choose_images, match, shown_at


def truth(box, category=1, image=1):
    return {"image_id": image, "category_id": category, "bbox": box}


def found(box, score, category=1, image=1):
    return truth(box, category, image) | {"score": score}


def test_iou_and_matching_by_hand():
    # 10x10 boxes shifted by 5: 50 shared of 150
    assert box_iou([[0, 0, 10, 10]], [[5, 0, 10, 10], [20, 20, 5, 5]]).tolist() == [[50 / 150, 0.0]]
    # matching takes each object once and needs the category
    truths = [truth([0, 0, 10, 10]), truth([20, 0, 10, 10], category=2)]
    detections = [found([0, 0, 10, 10], 0.9), found([1, 0, 10, 10], 0.8), found([20, 0, 10, 10], 0.7, category=1)]
    assert match(truths, detections) == [0, -1, -1]
    assert match([], detections) == [-1, -1, -1]
    assert match(truths, []) == []


def test_best_threshold_and_chosen_images_by_hand():
    truths = {1: [truth([0, 0, 10, 10]), truth([20, 0, 10, 10])]}
    detections = {1: [found([0, 0, 10, 10], 0.9), found([20, 0, 10, 10], 0.6), found([50, 50, 5, 5], 0.3)]}
    # at 0.35: 2 right of 2 shown, F1 = 1; below it the wrong one counts
    threshold, f1 = best_threshold(truths, detections)
    assert (threshold, f1) == (0.35, 1.0)
    shown = shown_at(0.7, truths[1], detections[1])
    assert (shown.right, shown.missed, shown.score) == ([True], [False, True], 0)
    assert best_threshold(truths, {}) == (0.5, 0.0)
    # images are chosen by rule and once
    truths = {image: [truth([0, 0, 5, 5], image=image)] for image in range(1, 8)} | {8: []}
    sizes = {image: {"small": image == 3, "large": image == 5} for image in truths}
    same = {image: shown_at(0.5, truths[image], []) for image in truths}
    other = same | {7: shown_at(0.5, truths[7], [found([0, 0, 5, 5], 0.9, image=7)])}
    chosen = choose_images(truths, sizes, [same, other])
    assert [image for image, _ in chosen] == [3, 1, 5, 2, 7, 4]
    assert chosen[4] == (7, "runs differ most")


def test_gallery_of_one_paper(fake):
    folder = paths.raw("mini") / "val"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 48), (90, 120, 60)).save(folder / "1.png")
    annotation = truth([8, 8, 20, 20]) | {"id": 1, "area": 400, "iscrowd": 0}
    images = [{"id": 1, "file_name": "1.png", "width": 64, "height": 48}]
    categories = [{"id": 1, "name": "disc", "original_id": 1}]
    split = {"images": images, "annotations": [annotation], "categories": categories, "images_root": folder.as_posix()}
    path = paths.manifest("mini").with_name("val.json")
    write_json(path, split)
    entry = {"file": "val.json", "sha256": sha256(path), "images_root": folder.as_posix()}
    manifest = {"preset": "mini", "kind": "scaleworld", "factor": 0.3, "categories": categories}
    write_json(paths.manifest("mini"), manifest | {"splits": {"val": entry}})
    for evaluation in PAIRS["dst"][0]:
        write_json(paths.detections("mini", evaluation), [found([8, 8, 20, 20], 0.8)])
    write_gallery("mini", "dst")
    gallery = paths.gallery("mini")
    first = (gallery / "dst.png").read_bytes()
    write_gallery("mini", "dst")
    assert first == (gallery / "dst.png").read_bytes()
    text = (gallery / "dst.md").read_text()
    assert "Shown above a score of 0.05 for `dst_frcnn_r50_fpn_1x` and 0.05 for" in text
    assert "(dst.png)" in text
    with pytest.raises(InputError, match="detections of pod_frcnn_r50_fpn_2x, which is not run"):
        write_gallery("mini", "pod")
    with pytest.raises(InputError, match="'dts'; did you mean 'dst'"):
        write_gallery("mini", "dts")
    assert sorted(file.name for file in gallery.iterdir()) == ["dst.md", "dst.png"]
