"""Verification end to end: normalised files, manifest, checksums, and page."""

import hashlib
import json

import pytest
import tiny
from photographs import photographs
from PIL import Image
from tiny_sets import instances, normalised, verify_one, write_instances

from pipeline import config, paths
from pipeline.data.manifest import load_manifest, load_split, size_name
from pipeline.data.sources import verify_preset
from pipeline.data.summary import summary
from pipeline.data.verification_page import write_verification_page
from pipeline.data.verify import Source, new_categories, verify
from pipeline.errors import InputError
from pipeline.object_sizes import recounted


def two_splits(folder, train, val, **options):
    sources = {
        name: Source(write_instances(folder / f"{name}_source.json", content), folder / "images")
        for name, content in (("train", train), ("val", val))
    }
    return verify("tiny", "coco", sources, options.pop("factor", 1.0), folder / "out", **options)


def test_category_ids_are_contiguous_in_the_order_of_the_source(folder):
    manifest, train = verify_one(folder, instances()), normalised(folder)
    expected = [{"id": 1, "original_id": 4, "name": "cat"}, {"id": 2, "original_id": 9, "name": "dog"}]
    assert manifest["categories"] == train["categories"] == expected
    assert [(a["id"], a["category_id"]) for a in train["annotations"]] == [(11, 1), (12, 2), (13, 1)]
    assert train["images_root"] == (folder / "images").as_posix()


def test_manifest_values(folder):
    manifest = verify_one(folder, instances(), seed=5)
    assert (manifest["preset"], manifest["kind"], manifest["factor"], manifest["seed"]) == ("tiny", "coco", 1.0, 5)
    entry = manifest["splits"]["train"]
    content = (folder / "images" / "b.png").read_bytes()
    assert entry["files"][1] == ["b.png", len(content), hashlib.sha256(content).hexdigest()[:16]]
    assert entry["sha256"] == hashlib.sha256((folder / "out" / "train.json").read_bytes()).hexdigest()
    expected = {"file": "train.json", "images": 2, "annotations": 3, "objects": 2, "crowd": 1, "difficult": 0}
    expected |= {"masks": 0, "images_without_objects": 0, "small": 2, "medium": 0, "large": 0}
    expected |= {"objects_per_category": [1, 1], "excluded": {}, "excluded_examples": {}}
    assert {key: entry[key] for key in expected} == expected
    assert json.loads((folder / "out" / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize(
    ("area", "factor", "expected"),
    [
        (1023.9, 1.0, "small"),
        (1024, 1.0, "medium"),
        (9215.9, 1.0, "medium"),
        (9216, 1.0, "large"),
        (255.9, 0.5, "small"),
        (256, 0.5, "medium"),
        (2304, 0.5, "large"),
    ],
)
def test_size_borders_scale_with_the_factor(area, factor, expected):
    assert size_name(area, factor) == expected


def test_sizes_follow_the_factor_and_leave_crowds_out(folder):
    source = Source(write_instances(folder / "source.json", instances()), folder / "images")
    entry = verify("tiny", "coco", {"train": source}, 0.2, folder / "out")["splits"]["train"]
    # areas 400 and 33.5 against (6.4)^2 = 40.96 and (19.2)^2 = 368.64; the crowd of 1200 is not counted
    assert (entry["small"], entry["medium"], entry["large"]) == (1, 0, 1)


def test_image_with_only_a_crowd_has_no_objects(folder):
    content = instances()
    content["annotations"][0]["iscrowd"] = 1
    entry = verify_one(folder, content)["splits"]["train"]
    assert (entry["crowd"], entry["objects"], entry["images_without_objects"]) == (2, 1, 1)


def test_same_input_in_another_order_gives_the_same_bytes(folder):
    verify_one(folder, instances())
    first = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    content = instances()
    for key in ("images", "annotations", "categories"):
        content[key].reverse()
    verify_one(folder, content)
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == first
    assert sorted(first) == ["manifest.json", "train.json"]


def test_load_split_gives_what_was_verified_and_nothing_else(folder):
    verify_one(folder, instances())
    path, split = folder / "out" / "manifest.json", folder / "out" / "train.json"
    assert load_split(path, "train") == normalised(folder)
    manifest = load_manifest(path)
    assert (manifest.category_names, manifest.folder) == (["cat", "dog"], folder / "out")
    with pytest.raises(InputError, match=r"has no split 'trian', only train; did you mean 'train'; correct the name"):
        load_split(path, "trian")
    split.write_text(split.read_text() + " ")
    sentence = r"train\.json is not the file that .*\(SHA-256 differs\); run verify again\.$"
    with pytest.raises(InputError, match=sentence):
        load_split(path, "train")
    split.unlink()
    with pytest.raises(InputError, match=r"train\.json does not exist although .*; run verify again\.$"):
        load_split(path, "train")
    path.write_text('{"preset": "x"}')
    with pytest.raises(InputError, match=r"is no manifest \(it has no 'kind'\); run verify again\.$"):
        load_manifest(path)


def test_category_that_only_val_has_comes_last_and_is_counted(folder):
    val = instances()
    val["categories"].append({"id": 1, "name": "bird"})
    val["annotations"][0]["category_id"] = 1
    manifest = two_splits(folder, instances(), val)
    assert [(c["id"], c["original_id"]) for c in manifest["categories"]] == [(1, 4), (2, 9), (3, 1)]
    assert manifest["splits"]["val"]["excluded"] == {"category_not_in_train": 1}
    assert normalised(folder, "val")["annotations"][1]["category_id"] == 3
    assert normalised(folder)["categories"] == normalised(folder, "val")["categories"]


def test_files_that_disagree_on_categories_are_refused():
    known, bird = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], {"id": 7, "name": "bird"}
    assert new_categories(known, [known[1], bird], "val.json") == [bird]
    wrong = {1: "calls category 1 'dog', but in train it is 'cat'"}
    wrong[5] = "gives category 'dog' the id 5, but in train it is 2"
    for number, said in wrong.items():
        with pytest.raises(InputError, match=rf"^val\.json {said}; use one list"):
            new_categories(known, [{"id": number, "name": "dog"}], "val.json")


def test_files_shared_by_train_and_val_are_counted(folder):
    val = instances()
    val["images"] = val["images"][:1]
    val["annotations"] = val["annotations"][:1]
    manifest = two_splits(folder, instances(), val)
    assert manifest["shared_images"] == 1
    assert "**1 image file of another split also in train**" in write_verification_page(manifest)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK", "F"])
def test_every_colour_mode_is_accepted(folder, mode):
    suffix = {"CMYK": "jpg", "F": "tiff"}.get(mode, "png")
    Image.new(mode, (40, 30)).save(folder / "images" / f"mode.{suffix}")
    content = instances()
    content["images"][0]["file_name"] = f"mode.{suffix}"
    assert verify_one(folder, content)["splits"]["train"]["images"] == 2


def write_rotated(folder, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(folder / "images" / "turned.jpg", exif=exif)
    content = instances()
    content["images"][0]["file_name"] = "turned.jpg"  # 40 x 30
    return content


@pytest.mark.parametrize(
    ("orientation", "size", "flag", "counted"),
    [
        *((turned, (30, 40), True, "exif_rotated") for turned in (5, 6, 7, 8)),  # stored rotated, annotated upright
        (6, (40, 30), None, "exif_ignored"),  # the stored size agrees
    ],
)
def test_orientation_of_an_image(folder, orientation, size, flag, counted):
    manifest = verify_one(folder, write_rotated(folder, orientation, size))
    assert [image.get("exif") for image in normalised(folder)["images"]] == [None, flag]
    assert manifest["splits"]["train"]["excluded"] == {counted: 1}


@pytest.mark.parametrize("orientation", [1, 3])
def test_swapped_size_without_a_quarter_turn_is_an_error(folder, orientation):
    with pytest.raises(InputError, match="is 30x40 pixels, but its entry says 40x30"):
        verify_one(folder, write_rotated(folder, orientation, (30, 40)))


def test_image_folder_may_be_a_link(folder):
    (folder / "images").rename(folder / "elsewhere")
    (folder / "images").symlink_to(folder / "elsewhere")
    assert verify_one(folder, instances())["splits"]["train"]["images"] == 2


def test_missing_images_are_left_out_on_request(folder):
    (folder / "images" / "b.png").unlink()
    manifest = verify_one(folder, instances(), missing_images="exclude")
    entry = manifest["splits"]["train"]
    assert entry["excluded"] == {"annotation_of_missing_image": 2, "missing_image": 1}
    assert entry["excluded_examples"]["missing_image"] == ["image 7: 'b.png'"]
    assert (entry["images"], entry["annotations"], len(entry["files"])) == (1, 1, 1)


@pytest.mark.parametrize("name", ["b.png", "./b.png", "sub/../b.png"])
def test_one_file_under_two_ids_is_one_image(folder, name):
    content = instances()
    content["images"].append(content["images"][0] | {"id": 99, "file_name": name})
    content["annotations"].append(content["annotations"][0] | {"id": 50, "image_id": 99, "bbox": [20, 3, 10, 5]})
    manifest = verify_one(folder, content)
    assert manifest["splits"]["train"]["excluded"] == {"repeated_file": 1}
    train = normalised(folder)
    assert [image["file_name"] for image in train["images"]] == ["sub/ä.jpg", "b.png"]
    assert [a["image_id"] for a in train["annotations"]] == [3, 7, 7, 7]


def test_page_counts_and_explains(folder):
    content = instances()
    content["categories"][1]["name"] = "a|b"
    content["annotations"].append({"id": 20, "image_id": 7, "category_id": 4, "bbox": [1, 1, 0, 5]})
    content["annotations"].append({"id": 21, "image_id": 7, "category_id": 4, "bbox": [30, 1, 20, 5]})
    manifest = verify_one(folder, content)
    page = write_verification_page(manifest)
    assert "| train | 2 | 0 | 3 | 1 | 0 | 0 | 3 (100.0 %) | 0 (0.0 %) | 0 (0.0 %) |" in page
    left_out, kept = page.split("## Left out")[1].split("## Kept")
    assert "annotation 20 of 'b.png': [1, 1, 0, 5] in 40x30 | 1 |" in left_out
    assert "annotation 21 of 'b.png': [30, 1, 20, 5] in 40x30 | 1 |" in kept
    assert "| 1 | 4 | a&#124;b | 2 |" in page
    assert str(folder) not in page
    assert write_verification_page(load_manifest(folder / "out" / "manifest.json")) == page


def test_misuse_is_a_value_error(folder):
    with pytest.raises(ValueError, match="a source needs"):
        Source(annotations=folder / "a.json")
    source = Source(folder / "a.json", folder)
    with pytest.raises(ValueError, match="factor is nan"):
        verify("tiny", "coco", {"train": source}, float("nan"), folder / "out")


def test_only_named_categories_are_kept_and_the_others_counted(folder):
    manifest = verify_one(folder, instances(), keep=["dog"])
    assert manifest["categories"] == [{"id": 1, "original_id": 9, "name": "dog"}]
    train = normalised(folder)
    assert [(a["id"], a["category_id"]) for a in train["annotations"]] == [(12, 1)]
    assert [image["id"] for image in train["images"]] == [3, 7]  # 3 shows a cat alone and stays, without an object
    assert manifest["splits"]["train"]["excluded"] == {"other_category": 2}
    with pytest.raises(InputError, match="has no category 'dogs'; did you mean 'dog'; correct `categories`"):
        verify_one(folder, instances(), keep=["dogs"])


@pytest.mark.parametrize(
    ("name", "images", "objects"),
    [
        ("blood_cells", (292, 72), [[292, 3350, 301], [69, 805, 71]]),  # platelets, red, white
        ("people", None, None),  # as many as the folder behind it holds
    ],
)
def test_real_photographs(tmp_path, monkeypatch, name, images, objects):
    photographs(name)
    monkeypatch.chdir(paths.ROOT)
    monkeypatch.setattr(paths, "manifest", lambda *_: tmp_path / "manifest.json")
    manifest = verify_preset(config.load_preset(name))
    splits = [manifest["splits"][split] for split in ("train", "val")]
    assert manifest["shared_images"] == 0
    assert not {file[0] for file in splits[0]["files"]} & {file[0] for file in splits[1]["files"]}
    if images is None:
        assert [category["name"] for category in manifest["categories"]] == ["person"]
        assert all(entry["objects"] > 0 for entry in splits)
    else:
        assert tuple(entry["images"] for entry in splits) == images
        assert [entry["objects_per_category"] for entry in splits] == objects


def test_a_page_counts_by_the_sizes_of_a_preset_and_the_manifest_stays(folder):
    """Sides of 20 and 5.8 pixels; a crowd of 1,200 px^2 is none."""
    manifest, place = verify_one(folder, instances()), folder / "out/manifest.json"
    before = place.read_bytes()
    assert recounted(manifest, place, tiny.PRESET) == manifest
    found = recounted(manifest, place, tiny.replace(tiny.PRESET, sizes=(10.0, 15.5)))
    assert place.read_bytes() == before
    assert [found["splits"]["train"][name] for name in ("small", "medium", "large")] == [1, 0, 1]
    page = write_verification_page(found)
    assert "small below 10² and large from 15.5² square pixels on (the preset's own; COCO's 32² and 96²" in page
    assert "| 1 (50.0 %) | 0 (0.0 %) | 1 (50.0 %) |" in page
    assert "2 objects (1 small, 0 medium, 1 large), 1 crowd" in next(summary(found))[0]
    assert "the preset's own" not in write_verification_page(manifest)
