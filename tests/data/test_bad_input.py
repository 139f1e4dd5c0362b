"""Bad input, one mistake at a time: each is one sentence that names the place, the value and what to do."""

import copy
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_sets import instances, normalised, verify_one, write_images

from pipeline.data.verify import Source, verify
from pipeline.errors import InputError


def sentence(folder, content, **options) -> str:
    """Return the error's sentence, without the folder's name, after checking that it is one."""
    with pytest.raises(InputError) as caught:
        verify_one(folder, content, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert not (folder / "out").exists()
    return text.replace(f"{folder}/", "")


def edited(path: str, value: object) -> dict:
    """Return the valid content with the value at `images.0.id` replaced, or removed where it is `...`."""
    content = instances()
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    target = content
    for key in parents:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"images": [\n  {"id": 1,}]}', "not valid JSON: .* at line 2, column "),
        ("", "not valid JSON: Expecting value at line 1, column 1; repair or re-download it"),
        (json.dumps(instances())[:-20], "not valid JSON: "),
        ("[" * 100_000, "is no JSON that can be read: .*; repair or re-download it"),
        ("9" * 5000, "is no JSON that can be read: .*; repair or re-download it"),
    ],
)
def test_malformed_json(folder, text, expected):
    assert re.search(expected, sentence(folder, text))


def test_missing_instances_file(folder):
    with pytest.raises(InputError, match=r"nowhere\.json does not exist; make it, or correct the path"):
        verify("x", "coco", {"train": Source(folder / "nowhere.json", folder / "images")}, 1.0, folder / "out")


@pytest.mark.parametrize(("content", "kind"), [([], "a list"), ("null", "null"), ("5", "a number"), ('"x"', "text")])
def test_no_object(folder, content, kind):
    assert sentence(folder, content) == (
        f"train_source.json holds {kind}, but an instances file is one object with the keys images, annotations, "
        "categories; give the path of such a file."
    )


STRUCTURE = [
    ("images", ..., "train_source.json has no key 'images'; an instances file needs images, annotations, categories"),
    ("annotations", ..., "train_source.json has no key 'annotations'; an instances file needs"),
    ("categories", ..., "train_source.json has no key 'categories'; an instances file needs"),
    ("images", {}, "train_source.json: 'images' is an object, but it must be a list; correct it."),
    ("annotations", None, "train_source.json: 'annotations' is null, but it must be a list; correct it."),
    ("images.1", 5, "train_source.json: images[1] is 5, but it must be an object; correct it."),
    ("images.1.id", ..., "train_source.json: images[1] has no id; add it, or remove the entry."),
    ("images.1.id", "3", "train_source.json: images[1] has id '3', but it must be a whole number below 2^53"),
    ("images.1.id", 3.0, "train_source.json: images[1] has id 3.0, but it must be a whole number below 2^53"),
    ("images.1.id", True, "train_source.json: images[1] has id True, but it must be a whole number below 2^53"),
    ("images.1.id", 2**53, "train_source.json: images[1] has id 9007199254740992, but it must be a whole number"),
    ("images.1.file_name", ..., "train_source.json: images[1] (id 3) has no file_name; add it, or remove the entry."),
    ("images.1.file_name", 5, "train_source.json: images[1] (id 3) has file_name 5, but it must be text; correct it."),
    ("images.1.file_name", "", "train_source.json: images[1] (id 3) has file_name '', but it must be text"),
    ("images.1.width", "32", "(id 3) has width '32', but it must be a whole number of pixels from 1 to 1000000"),
    ("images.1.width", 0, "images[1] (id 3) has width 0, but it must be a whole number of pixels"),
    ("images.1.height", -24, "images[1] (id 3) has height -24, but it must be a whole number of pixels"),
    ("images.0.file_name", "sub", "image 7: 'sub' in images is not a file"),
    ("images.0.file_name", "sub\\b.png", "(write sub-folders with /)"),
    ("images.0.width", 41, "train_source.json: image 7: 'b.png' is 40x30 pixels, but its entry says 41x30;"),
    ("images.1.id", 7, "train_source.json: images[1] repeats the image id 7; give every image its own id."),
    ("annotations.0.id", "a", "annotations[0] has id 'a', but it must be a whole number below 2^53; correct it."),
    ("annotations.0.image_id", ..., "annotations[0] (id 12) has no image_id; add it, or remove the entry."),
    ("annotations.0.image_id", 8, "annotations[0] (id 12) is for image 8, which is not in 'images'; add the image or"),
    ("annotations.0.category_id", ..., "annotations[0] (id 12) has no category_id; add it, or remove the entry."),
    ("annotations.0.category_id", None, "annotations[0] (id 12) has category_id None, but it must be a whole number"),
    (
        "annotations.0.category_id",
        8,
        "train_source.json: annotations[0] (id 12) has category_id 8, but the 2 categories of the file have ids from 4 "
        "to 9 (nearest: 9); add the category or correct the annotation.",
    ),
    ("annotations.0.bbox", ..., "annotations[0] (id 12) has no bbox; add [x, y, width, height], or remove the"),
    ("annotations.0.bbox", [1, 2, 3], "(id 12) has bbox [1, 2, 3], but a box is four numbers [x, y, width"),
    ("annotations.0.bbox", [1, 2, 3, "4"], "has bbox [1, 2, 3, '4'], but a box is four numbers"),
    ("annotations.0.bbox", [1, 2, 3, None], "has bbox [1, 2, 3, None], but a box is four numbers"),
    ("annotations.0.bbox", [1, 2, 3, True], "has bbox [1, 2, 3, True], but a box is four numbers"),
    ("annotations.0.bbox", {"x": 1}, "has bbox {'x': 1}, but a box is four numbers"),
    ("annotations.0.iscrowd", 2, "annotations[0] (id 12) has iscrowd 2, but it must be 0 or 1; correct it."),
    ("annotations.0.iscrowd", "no", "annotations[0] (id 12) has iscrowd 'no', but it must be 0 or 1; correct it."),
    ("categories.1.id", 9, "categories[1] repeats the category id 9; give every category its own id."),
    ("categories.1.name", ..., "categories[1] has no name; add it, or remove the entry."),
    ("categories.1.name", 4, "categories[1] has name 4, but it must be text; correct it."),
    ("categories.1.name", "\ud800", "categories[1] has name '\\ud800', but it must be text; correct it."),
    ("images", [], "train_source.json lists no images, so the data set is empty; fill 'images'."),
    ("categories", [], "train_source.json lists no categories, so no box can have one; fill 'categories' with id and"),
]


@pytest.mark.parametrize(("path", "value", "expected"), STRUCTURE)
def test_structural_mistakes(folder, path, value, expected):
    assert expected in sentence(folder, edited(path, value))


@pytest.mark.parametrize(
    "annotations", [[], instances()["annotations"][2:], [instances()["annotations"][0] | {"bbox": [1, 1, 0, 0]}]]
)
def test_no_usable_box_in_train(folder, annotations):
    text = sentence(folder, instances() | {"annotations": annotations})
    assert text.startswith("train_source.json has no usable box (")
    assert text.endswith("so there is nothing to train on; check the annotations.")


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "../images2/a.png"])
def test_path_that_leaves_the_folder(folder, name):
    write_images(folder, {"images": [{"file_name": "secret.png", "width": 40, "height": 30}]})
    text = sentence(folder, edited("images.0.file_name", name))
    assert text.startswith(
        f"train_source.json: images[0] (id 7) has file name '{name}', which leaves the image folder "
    )
    assert text.endswith("copy the file into the folder and correct the name.")


def test_absolute_path(folder):
    text = sentence(folder, edited("images.0.file_name", str(folder / "images" / "b.png")))
    assert "has the absolute path" in text
    assert text.endswith("remove the folder from the name.")


def test_link_that_leaves_the_folder(folder):
    (folder / "images" / "b.png").rename(folder / "secret.png")
    (folder / "images" / "b.png").symlink_to(folder / "secret.png")
    assert "has file name 'b.png', which is a link that leaves the image folder" in sentence(folder, instances())


def test_link_inside_the_folder_is_fine(folder):
    (folder / "images" / "b.png").rename(folder / "images" / "real.png")
    (folder / "images" / "b.png").symlink_to("real.png")
    assert verify_one(folder, instances())["splits"]["train"]["images"] == 2


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"])
def test_names_that_no_file_can_have(folder, name):
    assert re.search(r"images\[0\] \(id 7\) has file.name '.*', ", sentence(folder, edited("images.0.file_name", name)))


def test_missing_image(folder):
    (folder / "images" / "b.png").unlink()
    assert sentence(folder, instances()) == (
        "train_source.json: image 7: image file 'b.png' does not exist in images; restore it, correct file_name, or "
        "set missing_images to 'exclude'."
    )


def test_all_images_missing(folder):
    for name in ("b.png", "sub/ä.jpg"):
        (folder / "images" / name).unlink()
    text = sentence(folder, instances(), missing_images="exclude")
    assert text.startswith("train_source.json has no image left, because the file of each is missing;")


def test_missing_image_folder(tmp_path):
    text = sentence(tmp_path, instances())
    assert text == "image folder images does not exist or is no folder; correct the path that names it."


@pytest.mark.parametrize(("name", "kept"), [("b.png", 60), ("sub/ä.jpg", 400), ("sub/ä.jpg", -5)])
def test_truncated_image(folder, name, kept):
    path = folder / "images" / name
    path.write_bytes(path.read_bytes()[:kept])
    text = sentence(folder, instances())
    assert f"image file '{name}' cannot be decoded (" in text
    assert text.endswith("restore it from its source (truncated download?), or remove its entry.")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"not a picture", "cannot be decoded (no picture of a known format: JPEG, "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n", "cannot be decoded (no picture of a"),
    ],
)
def test_file_that_is_no_image(folder, content, problem):
    (folder / "images" / "b.png").write_bytes(content)
    assert f"image 7: image file 'b.png' {problem}" in sentence(folder, instances())


# Fuzzing: whatever is done to a valid file, the answer is InputError or a data set that keeps its promises.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 60)
    | st.integers()
    | st.sampled_from([2**63, 10**400, -(10**400), 1e308, "b.png", "..", ".", "sub", "/", "x" * 5000, "\0", "\ud800"])
    | st.floats()
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS_TO_ADD = ("segmentation", "difficult", "area", "exif", "iscrowd", "id")
MASKS = (
    st.lists(st.lists(st.integers(-50, 90) | st.floats(), max_size=9), max_size=3)
    | st.fixed_dictionaries({"size": st.just([30, 40]), "counts": st.lists(st.integers(-1, 700), max_size=5)})
    | st.fixed_dictionaries({"size": st.just([30, 40]), "counts": st.text(max_size=6)})
)


def places(node, path=()):
    """Yield the path of every value inside a JSON value."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


@st.composite
def mutated(draw):
    content = instances()
    for _ in range(draw(st.integers(1, 4))):
        spots = list(places(content))
        if not spots:
            break
        *parents, last = draw(st.sampled_from(spots))
        target = content
        for key in parents:
            target = target[key]
        action = draw(st.sampled_from(["replace", "replace", "delete", "repeat", "add"]))
        if action == "replace":
            target[last] = copy.deepcopy(draw(VALUES))  # drawn values are shared between examples
        elif action == "delete":
            del target[last]
        elif action == "repeat" and isinstance(target, list):
            target.append(copy.deepcopy(target[last]))
        elif isinstance(target, dict):
            target[draw(st.sampled_from(KEYS_TO_ADD))] = copy.deepcopy(draw(MASKS | VALUES))
    return content


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    write_images(folder / "images")
    return folder


def verify_or_refuse(folder, content, **options):
    try:
        manifest = verify_one(folder, content, **options)
    except InputError as error:
        refusal = str(error)
        assert "\n" not in refusal
        assert refusal.encode("utf-8")
        return
    train = normalised(folder)
    sizes = {image["id"]: (image["width"], image["height"]) for image in train["images"]}
    assert [c["id"] for c in train["categories"]] == list(range(1, len(train["categories"]) + 1))
    assert len({a["id"] for a in train["annotations"]}) == len(train["annotations"]) > 0
    for annotation in train["annotations"]:
        x, y, w, h = annotation["bbox"]
        width, height = sizes[annotation["image_id"]]
        assert 0 <= x < x + w <= width + 1e-9
        assert 0 <= y < y + h <= height + 1e-9
        assert annotation["area"] > 0
        assert annotation["id"] >= 1
        assert 1 <= annotation["category_id"] <= len(train["categories"])
    assert sum(manifest["splits"]["train"][size] for size in ("small", "medium", "large")) > 0


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(content=mutated(), option=st.sampled_from(["error", "exclude"]))
def test_random_mutations_raise_nothing_but_input_error(fuzz_folder, content, option):
    verify_or_refuse(fuzz_folder, json.dumps(content), missing_images=option)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(start=st.integers(0, 700), length=st.integers(0, 6), text=st.text('{}[]",:0123456789.eEna-\\ \n', max_size=4))
def test_random_edits_of_the_text_raise_nothing_but_input_error(fuzz_folder, start, length, text):
    valid = json.dumps(instances())
    verify_or_refuse(fuzz_folder, valid[:start] + text + valid[start + length :])
