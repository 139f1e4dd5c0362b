"""ScaleWorld: reproducible, true to its own masks, and with COCO's scale statistics."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from pipeline.data.scaleworld.background import LUMA, colour_of
from pipeline.data.scaleworld.scenes import CATEGORIES, annotate_scene, render_object_crops, render_scene, write_split
from pipeline.data.scaleworld.shapes import BODY, DETAIL, Pose, draw_parts, rasterise, unit_area
from pipeline.data.statistics import compare, scale_statistics
from pipeline.errors import InputError

FACTOR = 0.25


def annotated(split: str, count: int, factor: float, seed: int = 0) -> dict:
    coco = {"images": [], "annotations": []}
    for index in range(count):
        height, width, annotations = annotate_scene(seed, index, split, factor)
        coco["images"].append({"id": index, "height": height, "width": width})
        coco["annotations"] += [{"image_id": index, **annotation} for annotation in annotations]
    return coco


@pytest.fixture(scope="module")
def scenes() -> dict:
    return annotated("val", 300, FACTOR)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_same_scene_same_bytes_in_any_order():
    forward = [render_scene(3, index, "train", FACTOR) for index in (0, 1, 2)]
    backward = [render_scene(3, index, "train", FACTOR) for index in (2, 1, 0)][::-1]
    for (image, objects), (image_again, objects_again) in zip(forward, backward, strict=True):
        assert np.array_equal(image, image_again)
        assert objects == objects_again


def test_no_two_scenes_are_equal():
    keys = [(seed, split, index) for seed in (0, 1) for split in ("train", "val", "test") for index in range(8)]
    digests = {digest(render_scene(seed, index, split, FACTOR)[0]) for seed, split, index in keys}
    assert len(digests) == len(keys)


def test_annotations_do_not_need_painting():
    for index in range(6):
        image, annotations = render_scene(0, index, "val", FACTOR)
        assert annotate_scene(0, index, "val", FACTOR) == (*image.shape[:2], annotations)


def test_box_and_area_are_those_of_the_visible_mask():
    for index in range(20):
        image, annotations = render_scene(1, index, "train", FACTOR)
        shown = np.zeros(image.shape[:2], int)
        for annotation in annotations:
            mask = rle.decode(annotation["segmentation"])
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert mask.shape == image.shape[:2]
            assert (x, y) == (columns.min(), rows.min())
            assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert annotation["area"] == mask.sum() >= 3
            assert annotation["iscrowd"] == 0
            assert 1 <= annotation["category"] <= len(CATEGORIES)
            shown += mask
        assert shown.max(initial=0) <= 1  # a pixel shows one object


@pytest.mark.parametrize("factor", [0.1, 0.2, 0.25, 1.0])
def test_image_sizes(factor):
    long, short = round(640 * factor), round(480 * factor)
    sizes = [annotate_scene(0, index, "val", factor)[:2] for index in range(40)]
    assert set(sizes) == {(short, long), (long, short)}
    assert sizes.count((short, long)) > sizes.count((long, short))


@pytest.mark.parametrize(
    ("split", "count", "factor", "seed"),
    [
        ("val", 300, 0.2, 0),
        ("train", 400, 0.3, 0),
        ("val", 200, 1.0, 0),
        ("val", 300, FACTOR, 1),
        ("val", 300, FACTOR, 2**32 - 1),
    ],
)
def test_statistics_follow_coco_at_any_size_and_seed(split, count, factor, seed):
    statistics = scale_statistics(annotated(split, count, factor, seed), factor)
    assert [row for row in compare(statistics) if not row["within"]] == []


def test_scenes_are_rich(scenes):
    statistics = scale_statistics(scenes, FACTOR)
    assert statistics["scale_range"] >= 20
    assert len(CATEGORIES) >= 10
    by_category = np.bincount([annotation["category"] for annotation in scenes["annotations"]])[1:]
    assert by_category.min() > 0.04 * by_category.sum()  # twelve of them
    small = np.bincount(
        [annotation["image_id"] for annotation in scenes["annotations"] if annotation["area"] < (32 * FACTOR) ** 2],
        minlength=300,
    )
    assert (small == 0).sum() > 100
    assert (small >= 10).sum() > 20
    assert 1 <= statistics["images_without_objects"] <= 8


def test_pairs_share_an_outline_and_differ_inside():
    def drawn(name: str) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.Generator(np.random.PCG64(0))
        sprite = rasterise(draw_parts(CATEGORIES.index(name) + 1, rng), Pose(0.0, 1.0, False), 30.0)
        return sprite.mask, np.asarray(sprite.ink)

    for one, other in (("ball", "clock"), ("crate", "board"), ("house", "tag")):
        (mask, ink), (other_mask, other_ink) = drawn(one), drawn(other)
        assert (mask != other_mask).sum() < 0.02 * mask.sum()  # antialiasing at the rim may differ
        assert (ink != other_ink).sum() > 0.2 * (ink > 0).sum()


def test_area_of_known_drawings():
    assert unit_area(CATEGORIES.index("ball") + 1) == pytest.approx(np.pi, rel=0.02)
    assert unit_area(CATEGORIES.index("crate") + 1) == pytest.approx(1.8**2, rel=0.01)
    assert unit_area(CATEGORIES.index("house") + 1) == pytest.approx(1.7 * 1.25 + 0.85 * 0.75, rel=0.01)
    square = [(BODY, np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]))]
    assert rasterise(square, Pose(0.0, 1.0, False), 2.0).mask.sum() == 16  # exactly 4x4 pixels
    turned = rasterise(square, Pose(np.pi / 4, 1.3, True), 20.0)
    assert turned.coverage.sum() == pytest.approx(1600, rel=0.02)  # rotation, aspect and flips keep the area


def test_flip_mirrors():
    parts = [(BODY, np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)])), (DETAIL, np.array([(0.5, -1), (1, -1), (1, 1)]))]
    plain, mirrored = (np.asarray(rasterise(parts, Pose(0.0, 1.0, flip), 20.0).ink) for flip in (False, True))
    right, left = (np.nonzero(ink == DETAIL)[1].mean() / ink.shape[1] for ink in (plain, mirrored))
    assert right > 0.6
    assert left < 0.4


def test_objects_stand_out_from_what_is_around_them():
    differences = []
    for index in range(40):
        image, annotations = render_scene(0, index, "val", FACTOR)
        luma = image @ LUMA
        for annotation in annotations:
            x, y, width, height = (int(side) for side in annotation["bbox"])
            crop = np.s_[max(y - 2, 0) : y + height + 2, max(x - 2, 0) : x + width + 2]
            mask = rle.decode(annotation["segmentation"])[crop].astype(bool)
            if annotation["area"] >= 30 and not mask.all():
                inside, outside = luma[crop][mask], luma[crop][~mask]
                differences.append(np.abs(inside - outside.mean()).mean())
    assert np.min(differences) > 10  # grey levels
    assert np.quantile(differences, 0.1) > 20


def test_colour_of_keeps_the_luma():
    rng = np.random.Generator(np.random.PCG64(0))
    for luma in (0.04, 0.3, 0.96):
        colour = colour_of(luma, rng, 0.5)
        assert float(colour @ LUMA) == pytest.approx(luma, abs=1e-5)
        assert colour.min() >= -1e-6
        assert colour.max() <= 1 + 1e-6


def test_write_split(tmp_path):
    coco = write_split(tmp_path / "one", "val", 5, 7, FACTOR)
    path = tmp_path / "one" / "annotations" / "instances_val.json"
    assert json.loads(path.read_text()) == coco
    for index, entry in enumerate(coco["images"]):
        image, annotations = render_scene(7, index, "val", FACTOR)
        assert entry["file_name"] == f"val_{index:06d}.png"
        with Image.open(tmp_path / "one" / "images" / "val" / entry["file_name"]) as stored:
            assert np.array_equal(np.asarray(stored), image)
        own = [annotation for annotation in coco["annotations"] if annotation["image_id"] == entry["id"]]
        assert [annotation["bbox"] for annotation in own] == [annotation["bbox"] for annotation in annotations]
    assert [annotation["id"] for annotation in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
    official = COCO(path)
    for annotation in official.loadAnns(official.getAnnIds()):
        assert official.annToMask(annotation).sum() == annotation["area"]


def test_an_empty_split_is_a_data_set(tmp_path):
    coco = write_split(tmp_path, "val", 0, 0, FACTOR)
    assert coco["images"] == coco["annotations"] == []
    assert len(coco["categories"]) == len(CATEGORIES)


def test_object_crops():
    images, labels = render_object_crops(0, "train", 240, 32)
    assert images.shape == (240, 32, 32, 3)
    assert images.dtype == np.uint8
    assert set(labels.tolist()) == set(range(len(CATEGORIES)))
    again, labels_again = render_object_crops(0, "train", 10, 32)
    assert np.array_equal(again, images[:10])
    assert np.array_equal(labels_again, labels[:10])
    other, _ = render_object_crops(0, "val", 10, 32)
    assert not any(np.array_equal(one, two) for one, two in zip(other, again, strict=True))
    assert render_object_crops(0, "train", 0, 32)[0].shape == (0, 32, 32, 3)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda folder: write_split(folder, "val", -1, 0, FACTOR), "0 to 999999 images, not -1"),
        (lambda folder: write_split(folder, "val", 1, -5, FACTOR), "seed lies in 0 to"),
        (lambda folder: write_split(folder, "val", 1, 0, 0.01), "factor lies in 0.1 to 8"),
        (lambda folder: write_split(folder, "val", 1, 0, float("nan")), "factor lies in 0.1 to 8"),
        (lambda folder: render_scene(0, 2**32, "val", FACTOR), "index lies in 0 to"),
        (lambda folder: render_object_crops(0, "val", 1, 8), "at least 16 pixels wide, not 8"),
        (lambda folder: render_object_crops(0, "val", -1, 32), "cannot render -1 crops"),
    ],
)
def test_bad_input(call, rule, tmp_path):
    with pytest.raises(InputError, match=rule):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []
