"""Presets for own folders: splits that depend on file names alone, factors, sizes, and complaints of one sentence."""

import json
import random
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.own.data import Part, load_size, pixel_factor, read_folder, write_preset
from pipeline.preset import ModelSize

ROOT = paths.ROOT


def content(count: int = 40, categories: tuple[str, ...] = ("a", "b"), first: int = 0) -> dict:
    images = [{"id": 10 + n, "file_name": f"{first + n:03}.jpg", "width": 1280, "height": 960} for n in range(count)]
    boxes = [
        {"id": n + 1, "image_id": 10 + n // 2, "category_id": 1 + n % len(categories), "bbox": [1, 2, 30, 40]}
        for n in range(2 * count)
    ]
    kinds = [{"id": n + 1, "name": name} for n, name in enumerate(categories)]
    return {"images": images, "annotations": boxes, "categories": kinds, "info": {"anything": 1}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a folder of 42 different images."""
    root = tmp_path_factory.mktemp("made") / "photos"
    root.mkdir()
    for number in range(42):
        Image.new("L", (1280, 960), 6 * number).save(root / f"{number:03}.jpg")
    return root


@pytest.fixture
def folder(photos, tmp_path, monkeypatch):
    """Enter a project with presets and sizes of its own, and an image folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    shutil.copytree(ROOT / "workflow/sizes", tmp_path / "workflow/sizes")
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "workflow/presets").mkdir()
    return tmp_path


def written(data: dict, name: str = "all.json") -> str:
    Path(name).write_text(json.dumps(data))
    return name


def held(data: dict) -> set[str]:
    """Return the names of the images that validate of one file."""
    val = read_folder("own", "photos", written(data)).val
    return {entry["file_name"] for entry in json.loads(Path(val.annotations).read_text())["images"]}


def test_a_split_depends_on_file_names_alone(folder):
    data = content()
    first = held(data)
    assert len(first) == 8
    shuffled = json.loads(json.dumps(data))
    random.Random(1).shuffle(shuffled["images"])
    for entry in shuffled["images"]:
        entry["id"] += 1000
    for one in shuffled["annotations"]:
        one["image_id"] += 1000
    assert held(shuffled) == first
    assert len(held(content(41)) ^ first) <= 2  # one more image can take one place of another


def test_both_parts_are_whole_files_of_one_data_set(folder):
    data = content()
    data["annotations"][0]["bbox"][2] = float("nan")  # verification of the part counts it
    found = read_folder("own", "photos", written(data))
    parts = {}
    for part, source in (("train", found.train), ("val", found.val)):
        assert source == Part("photos", f"data/compare/own/instances_{part}.json")
        parts[part] = json.loads(Path(source.annotations).read_text())
        assert parts[part]["categories"] == data["categories"]
        ids = {entry["id"] for entry in parts[part]["images"]}
        wanted = [one for one in data["annotations"] if one["image_id"] in ids]
        assert json.dumps(parts[part]["annotations"]) == json.dumps(wanted)
    images = [entry["id"] for part in parts.values() for entry in part["images"]]
    assert sorted(images) == [entry["id"] for entry in data["images"]]


def test_one_picture_is_on_one_side_whatever_its_entries_and_copies(folder):
    data = content()
    name = sorted(held(data))[0]
    shutil.copy(f"photos/{name}", "photos/copy.jpg")
    entry = next(one for one in data["images"] if one["file_name"] == name)
    data["images"] += [entry | {"id": 900, "file_name": f"./{name}"}, entry | {"id": 901, "file_name": "copy.jpg"}]
    for key in (900, 901):
        data["annotations"].append({"id": key, "image_id": key, "category_id": 1, "bbox": [1, 2, 30, 40]})
    found = read_folder("own", "photos", written(data))
    for part, there in ((found.train, 0), (found.val, 3)):
        images = json.loads(Path(part.annotations).read_text())["images"]
        assert sum(one["file_name"] in (name, f"./{name}", "copy.jpg") for one in images) == there
    assert (found.train_images, found.val_images) == (32, 9)


def test_damaged_pictures_and_odd_boxes_are_found_before_anything_is_written(folder):
    data = content()
    wrong = [one | {"bbox": [0.1, 0.1, 0.2, 0.2]} for one in data["annotations"]]
    with pytest.raises(InputError, match=r"^all\.json: 80 of 80 boxes .*DATA='boxes=normalised'"):
        read_folder("own", "photos", written(data | {"annotations": wrong}))
    found = read_folder("own", "photos", "all.json", keys="boxes=normalised")
    write_preset("own", "mini", found)
    assert config.load_preset("own").data.boxes == "normalised"
    shutil.rmtree("data")
    path = folder / "photos/017.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"^all\.json: image 27: image file '017\.jpg' cannot be decoded"):
        read_folder("own", "photos", written(data))
    assert not Path("data").exists()


def test_a_folder_with_one_file_says_how_it_was_split(folder):
    found = read_folder("own", "photos", written(content()))
    assert (found.train_images, found.val_images, found.original_factor) == (32, 8, 2.0)
    assert found.remarks[0].startswith("One part: 8 of its 40 images validate")
    assert "Frames of one film" in found.remarks[0]


def test_named_validation_images_are_taken_as_they_are(folder):
    shutil.copytree("photos", "others")
    train, val = written(content(35)), written(content(5, first=35), "val.json")
    found = read_folder("own", "photos", train, "others", val)
    assert (found.train, found.val) == (Part("photos", "all.json"), Part("others", "val.json"))
    assert (found.train_images, found.val_images, found.remarks) == (35, 5, [])
    assert not Path("data/compare").exists()
    assert read_folder("own", "photos", "all.json", None, "val.json").val == Part("photos", "val.json")


def test_categories_that_cannot_be_scored_are_named(folder):
    val = content(5, ("a", "b"), first=35)
    val["annotations"] = [one for one in val["annotations"] if one["category_id"] == 1]
    found = read_folder("own", "photos", written(content(35)), None, written(val, "val.json"))
    assert found.remarks == ["1 of 2 categories have no object to score: b."]


def test_pixels_against_cocos():
    def factor(*sides: tuple[int, int]) -> float:
        return pixel_factor([{"width": width, "height": height} for width, height in sides])

    assert factor((640, 480), (480, 640)) == 1.0
    assert factor((4000, 3000), (1280, 960), (1280, 960)) == 2.0  # the median
    assert factor((384, 256)) == 0.6


def test_sizes_of_objects_are_worked_out_from_those_to_train_on(folder):
    data = content()
    for number, one in enumerate(data["annotations"]):
        one["bbox"], one["area"] = [0, 0, 4 + number % 3, 4 + number % 3], None
    found = read_folder("own", "photos", written(data), sizes="thirds")
    assert found.sizes == (4.5, 5.5)
    write_preset("own", "mini", found)
    assert config.load_preset("own").sizes == (4.5, 5.5)
    write_preset("own", "mini", read_folder("own", "photos", "all.json", sizes="17,41"))
    assert config.load_preset("own").sizes == (17.0, 41.0)
    text = write_preset("own", "mini", read_folder("own", "photos", "all.json")).read_text()
    assert "sizes" not in text
    with pytest.raises(InputError, match=r"^SIZES is '41,17', but must be"):
        read_folder("own", "photos", "all.json", sizes="41,17")


def test_sizes_may_be_missing(folder):
    data = content()
    del data["images"][0]["height"], data["images"][1]["width"], data["images"][1]["height"]
    assert read_folder("own", "photos", written(data)).original_factor == 2.0


@pytest.mark.parametrize("size", ["mini", "small", "full"])
def test_sizes_make_presets(folder, size):
    found = read_folder("own", "photos", written(content()))
    path = write_preset("own", size, found)
    preset = config.load_preset("own")
    assert path.name == "own.yaml"
    assert preset.data.train.images == "photos"
    assert preset.data.val.annotations == "data/compare/own/instances_val.json"
    assert (preset.original_factor, preset.pixel_factor) == (2.0, 2.0)
    assert preset.factor == {"mini": 0.25, "small": 0.5, "full": 1.0}[size]
    assert preset.init_source == "pretrain"  # no method may start from better weights than another
    least = load_size(size)
    assert preset.training.steps == (580 if size == "mini" else least.least_steps)
    assert preset.model.width == {"mini": 0.25, "small": 0.5, "full": 1.0}[size]
    assert write_preset("own", size, found).read_bytes() == path.read_bytes()
    if size == "small":  # epochs become steps of these images
        write_preset("own", size, found._replace(train_images=10_000))
        assert config.load_preset("own").training.steps == round(36 * 10_000 / 8)
    write_preset("own", size, found, steps=7000)
    assert config.load_preset("own").training.steps == 7000


@pytest.mark.parametrize("size", ["mini", "small", "full"])
def test_published_weights_need_networks_of_their_size(folder, size):
    write_preset("own", size, read_folder("own", "photos", written(content())), published=True)
    own, plain = config.load_preset("own"), ModelSize()
    assert own.init_source == "torchvision"
    assert [own.model.planes(stage) for stage in range(2, 6)] == [64, 128, 256, 512]
    assert [own.model.blocks(count) for count in (3, 4, 6, 23)] == [3, 4, 6, 23]
    assert (own.model.fpn_channels, own.model.head_channels) == (plain.fpn_channels, plain.head_channels)
    assert own.factor == load_size(size).factor  # the size still says how large pictures are


def test_mini_is_the_mini_preset(folder):
    write_preset("own", "mini", read_folder("own", "photos", written(content())))
    shutil.copy(ROOT / "workflow/presets/mini.yaml", "workflow/presets")
    own, mini = config.load_preset("own"), config.load_preset("mini")
    assert own.model.depth < mini.model.depth  # one pre-training serves networks of 50 and of 101 layers
    assert (own.model, own.training) == (replace(mini.model, depth=own.model.depth), mini.training)


def test_a_size_may_be_a_file(folder):
    (folder / "mine.yaml").write_text("factor: 0.1\ntraining: {steps: 5}\n")
    write_preset("own", "mine.yaml", read_folder("own", "photos", written(content())))
    preset = config.load_preset("own")
    assert (preset.factor, preset.training.steps) == (0.1, 5)
    assert preset.title == "own (own photographs, mine size)"


def test_a_preset_of_somebody_is_not_overwritten(folder):
    found = read_folder("own", "photos", written(content()))
    (folder / "workflow/presets/own.yaml").write_text("name: own\n")
    with pytest.raises(InputError, match="was not written by `make compare`; choose another NAME"):
        write_preset("own", "mini", found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": ""}, "IMAGES is empty; IMAGES must name the folder"),
        ({"annotations": ""}, "ANNOTATIONS must be named"),
        ({"images": "phtos"}, "phtos is no folder; IMAGES must name the folder"),
        ({"annotations": "no.json"}, "no.json does not exist"),
        ({"val_images": "photos"}, "VAL_IMAGES is named without VAL_ANNOTATIONS"),
        ({"annotations": "broken.json"}, "broken.json is not valid JSON"),
        ({"annotations": "few.json"}, "few.json lists 19 images, and at least 20 are needed to split them"),
        ({"annotations": "empty.json"}, "empty.json has no usable box"),
        ({"keys": "boxs=xyxy"}, "DATA has 'boxs=xyxy'; did you mean 'boxes'?"),
        ({"keys": "boxes=corners"}, "DATA: Invalid enum value 'corners'"),
        ({"keys": "max_megapixels=many"}, "max_megapixels is a number of millions of pixels"),
        ({"annotations": "unknown.json"}, "has category_id 9"),
        ({"val_annotations": "other.json"}, "Category 'c' is in only one of all.json and other.json"),
    ],
)
def test_complaints(folder, change, sentence):
    written(content())
    written(content(19), "few.json")
    written(content() | {"annotations": []}, "empty.json")
    written(content(5, ("a", "b", "c")), "other.json")
    Path("broken.json").write_text("{")
    wrong = content()
    wrong["annotations"][0]["category_id"] = 9
    written(wrong, "unknown.json")
    with pytest.raises(InputError) as caught:
        read_folder(**{"name": "own", "images": "photos", "annotations": "all.json"} | change)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Own", "my birds", "../x", ""])
def test_names_that_are_none(folder, name):
    with pytest.raises(InputError, match="must be of small letters"):
        read_folder(name, "photos", written(content()))


def test_unknown_sizes_name_the_nearest(folder):
    with pytest.raises(InputError, match=r"Unknown SIZE 'smal'.*small.*known are full, mini, small"):
        load_size("smal")
    (folder / "wrong.yaml").write_text("factr: 0.1\n")
    with pytest.raises(InputError, match="unknown key 'factr'"):
        load_size("wrong.yaml")
