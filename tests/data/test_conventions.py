"""Boxes in other conventions, and pictures stored turned: seen over the whole file, converted by a key."""

import numpy as np
import pytest
from PIL import Image
from tiny_sets import normalised, verify_one, voc_object, write_instances, write_voc

from pipeline.data.boxes import CONVENTIONS, to_xywh
from pipeline.data.verify import Source, verify
from pipeline.errors import InputError
from pipeline.preset import Data

WIDTH, HEIGHT = 60, 40


def boxes(count: int = 24) -> np.ndarray:
    """Return boxes x, y, w, h of all sizes anywhere inside a picture."""
    draw = np.random.default_rng(3)
    sides = draw.uniform(0.1, 0.6, (count, 2)) * [WIDTH, HEIGHT]
    return np.concatenate([draw.uniform(0, 1, (count, 2)) * ([WIDTH, HEIGHT] - sides), sides], axis=1)


def written(found: np.ndarray, convention: str) -> np.ndarray:
    """Return boxes as somebody writes them."""
    x, y, w, h = found.T
    columns = {"xywh": (x, y, w, h), "xyxy": (x, y, x + w, y + h), "cxcywh": (x + w / 2, y + h / 2, w, h)}
    numbers = np.stack(columns[convention.removeprefix("normalised_").replace("normalised", "xywh")], axis=1)
    return numbers / [WIDTH, HEIGHT, WIDTH, HEIGHT] if convention.startswith("normalised") else numbers


def instances(numbers: np.ndarray, images: int = 4, **entry: object) -> dict:
    """Return an instances file with boxes shared out among pictures."""
    return {
        "images": [{"id": k, "file_name": f"{k}.jpg", "width": WIDTH, "height": HEIGHT} | entry for k in range(images)],
        "annotations": [
            {"id": k + 1, "image_id": k % images, "category_id": 1, "bbox": row}
            for k, row in enumerate(numbers.tolist())
        ],
        "categories": [{"id": 1, "name": "fish"}],
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for k in range(4):
        Image.new("RGB", (WIDTH, HEIGHT), (40 * k, 90, 200)).save(tmp_path / f"images/{k}.jpg")
    return tmp_path


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_each_convention_is_converted_by_its_key_and_named_without_it(folder, convention):
    content = instances(written(boxes(), convention))
    verify_one(folder, content, boxes=convention)
    found = [one["bbox"] for one in normalised(folder)["annotations"]]
    assert np.allclose(found, boxes())
    if convention == "xywh":
        return
    with pytest.raises(InputError) as caught:
        verify_one(folder, content)
    sentence = str(caught.value)
    assert f"write `boxes: {convention}` under `data`" in sentence
    assert "24 do as" in sentence
    assert "\n" not in sentence


def test_a_key_that_does_not_fit_is_refused(folder):
    with pytest.raises(InputError, match=r"24 of 24 boxes do not fit .* as shares of the picture .*`boxes: xywh`"):
        verify_one(folder, instances(boxes()), boxes="normalised")


def test_some_boxes_that_leave_their_pictures_are_cut_and_counted(folder):
    numbers = boxes()
    numbers[:6, 0] = -8  # a quarter of hand-drawn boxes passes the border: no other convention fits them
    assert verify_one(folder, instances(numbers))["splits"]["train"]["excluded"] == {"clipped": 6}


def test_most_boxes_unusable_is_an_error(folder):
    numbers = boxes()
    numbers[:13, 3] = 0
    with pytest.raises(InputError, match=r"13 of 24 boxes are unusable, 13 of them a box with a zero"):
        verify_one(folder, instances(numbers))
    numbers[12, 3] = 5
    assert verify_one(folder, instances(numbers))["splits"]["train"]["excluded"]["degenerate_box"] == 12


@pytest.mark.parametrize("convention", ["xywh", "normalised_xyxy", "xyxy"])
def test_voc_of_another_convention(tmp_path, convention):
    numbers = written(boxes(), convention) + (0 if "normalised" in convention else [1, 1, 0, 0])
    names = [f"{k:02}" for k in range(len(numbers))]
    objects = {name: [voc_object("fish", *row)] for name, row in zip(names, numbers.tolist(), strict=True)}
    root = write_voc(tmp_path / "voc", {"train": names}, objects, (WIDTH, HEIGHT))
    sources = {"train": Source(voc_root=root, voc_split="train")}
    verify("tiny", "voc", sources, 1.0, tmp_path / "out", Data("voc", boxes=convention))
    found = np.array([one["bbox"] for one in normalised(tmp_path)["annotations"]])
    assert np.allclose(found, boxes(), atol=1e-9)
    if convention != "xyxy":
        with pytest.raises(InputError, match=f"`boxes: {convention}`"):
            verify("tiny", "voc", sources, 1.0, tmp_path / "out")


def test_by_hand():
    sizes, numbers = np.array([[200.0, 100.0]]), np.array([[0.5, 0.5, 0.2, 0.4]])
    assert to_xywh(numbers, sizes, "normalised").tolist() == [[100, 50, 40, 40]]
    assert np.allclose(to_xywh(numbers, sizes, "normalised_cxcywh"), [[80, 30, 40, 40]])
    assert to_xywh(np.array([[3.0, 4, 9, 8]]), sizes, "xyxy").tolist() == [[3, 4, 6, 4]]
    assert to_xywh(np.array([[3.0, 4, 9, 8]]), sizes, "xyxy", first=1).tolist() == [[2, 3, 7, 5]]


# Pictures that are stored turned: 60x40 in the file, 40x60 upright


def turned(folder, number: int, orientation: int = 6) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9 * number)).save(folder / f"images/{number}.jpg", exif=exif)


NO_SIZE = {"width": None, "height": None}
TALL, WIDE, BOTH = [5, 30, 20, 28], [30, 5, 28, 20], [5, 5, 20, 20]


@pytest.mark.parametrize(
    ("first", "rest", "sized", "rule", "upright", "counted"),
    [
        (TALL, BOTH, True, "auto", True, "assumed_upright"),  # one picture shows it, the others follow
        (WIDE, BOTH, True, "auto", False, "assumed_stored"),
        (BOTH, BOTH, True, "auto", False, "assumed_stored"),  # the entry's size is believed
        (BOTH, BOTH, False, "auto", True, "assumed_upright"),  # without one, as viewers show pictures
        (TALL, BOTH, False, "auto", True, "assumed_upright"),
        (WIDE, BOTH, False, "auto", False, "assumed_stored"),
        (BOTH, BOTH, True, "upright", True, None),
        (BOTH, BOTH, False, "stored", False, None),
    ],
)
def test_which_way_boxes_fit(folder, first, rest, sized, rule, upright, counted):
    for k in range(4):
        turned(folder, k, orientation=(6, 6, 8, 3)[k])
    content = instances(
        np.array([first, rest, rest, rest], dtype=float), **({} if sized else {"width": None, "height": None})
    )
    excluded = verify_one(folder, content, exif=rule)["splits"]["train"]["excluded"]
    images = normalised(folder)["images"]
    assert [bool(image.get("exif")) for image in images] == [upright] * 4
    sizes = {(image["width"], image["height"]) for image in images[:3]}
    assert sizes == {(HEIGHT, WIDTH) if upright else (WIDTH, HEIGHT)}
    assert (images[3]["width"], images[3]["height"]) == (WIDTH, HEIGHT)  # half a turn keeps the size
    assert excluded["exif_rotated" if upright else "exif_ignored"] == 4
    assert excluded.get("assumed_upright", 0) + excluded.get("assumed_stored", 0) == (
        0 if counted is None else excluded[counted]
    )


def test_areas_that_are_none(folder):
    content = instances(boxes())
    for k, annotation in enumerate(content["annotations"]):
        box = annotation["bbox"][2] * annotation["bbox"][3]
        annotation["area"] = {0: WIDTH * HEIGHT, 1: 0.02, 2: box * 0.7}.get(k, box)
    excluded = verify_one(folder, content)["splits"]["train"]["excluded"]
    areas = [(one["area"], one["bbox"][2] * one["bbox"][3]) for one in normalised(folder)["annotations"]]
    assert excluded == {"bad_area": 2}
    assert all(area == pytest.approx(box * (0.7 if k == 2 else 1)) for k, (area, box) in enumerate(areas))
    for annotation in content["annotations"][3:]:  # most are shares of the picture: none is believed
        annotation["area"] /= WIDTH * HEIGHT
    assert verify_one(folder, content)["splits"]["train"]["excluded"] == {"bad_area": 24}


def test_polygons_are_shares_where_boxes_are(folder):
    content = instances(written(boxes(), "normalised"))
    polygon = [0.25, 0.25, 0.75, 0.25, 0.75, 0.5, 0.25, 0.5]
    content["annotations"][0] |= {"bbox": [0.25, 0.25, 0.5, 0.25], "segmentation": [polygon]}
    verify_one(folder, content, boxes="normalised")
    found = normalised(folder)["annotations"][0]
    assert found["area"] == pytest.approx(WIDTH * HEIGHT / 8)
    assert found["segmentation"] == [[15, 10, 45, 10, 45, 20, 15, 20]]


def test_boxes_of_a_smaller_copy_are_remarked(folder):
    excluded = verify_one(folder, instances(boxes() / 2))["splits"]["train"]["excluded"]
    assert excluded == {"one_quarter": 24}


def test_what_train_shows_of_turned_pictures_holds_for_val(folder):
    for k in range(4):
        turned(folder, k)
    sources = {}
    for split, rows in (("train", [TALL, BOTH, BOTH, BOTH]), ("val", [BOTH] * 4)):
        path = write_instances(folder / f"{split}.json", instances(np.array(rows, dtype=float)))
        sources[split] = Source(path, folder / "images")
    verify("tiny", "coco", sources, 1.0, folder / "out")
    assert all(image["exif"] for split in sources for image in normalised(folder, split)["images"])


# Objects so small that their boxes fit their pictures as corners and as centres


def small(count: int = 120, whole: bool = False, inside: bool = False) -> np.ndarray:
    """Return boxes x, y, w, h of 2 to 6 pixels; those `inside` keep off the borders."""
    draw, margin = np.random.default_rng(5), 8 if inside else 0
    sides = draw.uniform(2, 6, (count, 2))
    low = margin + draw.uniform(0, 1, (count, 2)) * ([WIDTH, HEIGHT] - sides - 2 * margin)
    return np.floor(np.concatenate([low, sides], axis=1)) if whole else np.concatenate([low, sides], axis=1)


def with_polygons(content: dict, found: np.ndarray, count: int = 3) -> dict:
    for annotation, (x, y, w, h) in zip(content["annotations"][:count], found.tolist(), strict=False):
        annotation["segmentation"] = [[x, y, x + w, y, x + w / 2, y + h]]
    return content


SIGNS = {
    "borders": (small(), 0, r"do \d+ of them not leave their pictures"),
    "whole numbers": (small(40, whole=True, inside=True), 0, "their corners are whole numbers"),
    "polygons": (small(4, inside=True), 3, "most lie around their polygons"),
}


@pytest.mark.parametrize("name", SIGNS)
def test_centres_of_small_objects_are_seen(folder, name):
    found, polygons, why = SIGNS[name]
    verify_one(folder, with_polygons(instances(found), found, polygons))
    assert np.allclose([one["bbox"] for one in normalised(folder)["annotations"]], found)
    content = with_polygons(instances(written(found, "cxcywh")), found, polygons)
    with pytest.raises(
        InputError, match=rf"only as centre x, .* {why}; write `boxes: cxcywh` .* else `boxes: xywh`\.$"
    ):
        verify_one(folder, content)
    verify_one(folder, content, boxes="cxcywh")
    assert np.allclose([one["bbox"] for one in normalised(folder)["annotations"]], found)
    verify_one(folder, content, boxes="xywh")  # who says so is believed


@pytest.mark.parametrize(("convention", "whole"), [("normalised", False), ("normalised_cxcywh", True)])
def test_the_likelier_of_two_that_fit_is_named(folder, convention, whole):
    found = small(whole=whole)
    with pytest.raises(InputError, match=f"write `boxes: {convention}` under [^)]*\\), else correct the file"):
        verify_one(folder, instances(written(found, convention)))


SIDES = boxes()[:, 2:]
POLYGONS = [[[x, y, x + w, y, x, y + h]] for x, y, w, h in boxes().tolist()]  # half of their boxes
SLIVERS = [[[x, y, x + w, y + h, x + w, y + 0.9 * h]] for x, y, w, h in boxes().tolist()]  # a twentieth


@pytest.mark.parametrize(
    ("shares", "polygons", "believed"),
    [
        (np.full(24, 1 / 4), None, False),  # of copies of half the size
        (np.full(24, 1 / 90), None, False),
        (100 / (WIDTH * HEIGHT) * np.linspace(0.5, 2, 24), None, False),  # in percent, of pictures of several sizes
        (1 / np.sqrt(SIDES.prod(1)), None, False),  # lengths
        (np.full(24, 1 / 8), POLYGONS, False),
        (np.full(24, 1 / 80), SLIVERS, False),
        (np.full(24, np.pi / 4), None, True),  # circles
        (np.linspace(0.1, 0.9, 24), None, True),
        (np.full(24, 1 / 20), SLIVERS, True),
        (np.full(24, 1.0), POLYGONS, True),  # the boxes' own
    ],
)
def test_areas_in_another_unit(folder, shares, polygons, believed):
    content = instances(boxes())
    for k, annotation in enumerate(content["annotations"]):
        annotation["area"] = float(SIDES[k].prod() * shares[k])
        if polygons:
            annotation["segmentation"] = polygons[k]
    excluded = verify_one(folder, content)["splits"]["train"]["excluded"]
    assert excluded == ({} if believed else {"bad_area": 24})
    filled = {id(None): 1.0, id(POLYGONS): 0.5, id(SLIVERS): 0.05}[id(polygons)]
    areas = [one["area"] for one in normalised(folder)["annotations"]]
    assert areas == pytest.approx(list(SIDES.prod(1) * (shares if believed else filled)))
