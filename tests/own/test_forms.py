"""One data set as COCO, VOC and YOLO have it is read alike, and what breaks a form is one sentence."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pipeline import paths
from pipeline.data.verify import Source, read_splits
from pipeline.errors import InputError
from pipeline.own.data import Folder, read_folder
from pipeline.preset import Data

WIDTH, HEIGHT, COUNT = 64, 48, 30
NAMES = ("ant", "bee")
XML = "<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
OBJECT = """<object><name>{name}</name>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>
</object>"""


def boxes_of(number: int) -> list[tuple[int, int, int, int, int]]:
    """Return class, left, top, width and height of an image's objects; every tenth image has none."""
    return [] if number % 10 == 9 else [(number % 2, number, 4, 16, 8), (1, 8, 20, 12, 24)]


WANTED = {
    f"{number:02}": sorted(
        (NAMES[kind], left, top, width, height) for kind, left, top, width, height in boxes_of(number)
    )
    for number in range(COUNT)
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Enter a project in whose folder `set` the data lies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path / "set"


def draw(folder: Path, numbers=range(COUNT)) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        Image.new("L", (WIDTH, HEIGHT), 8 * number).save(folder / f"{number:02}.jpg")


def write_yolo(folder: Path, numbers=range(COUNT), line="{kind} {x} {y} {w} {h}\n") -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        text = "".join(
            line.format(
                kind=kind,
                x=(left + width / 2) / WIDTH,
                y=(top + height / 2) / HEIGHT,
                w=width / WIDTH,
                h=height / HEIGHT,
                left=left / WIDTH,
                right=(left + width) / WIDTH,
                top=top / HEIGHT,
                bottom=(top + height) / HEIGHT,
            )
            for kind, left, top, width, height in boxes_of(number)
        )
        (folder / f"{number:02}.txt").write_text(text)


def write_voc(folder: Path, numbers=range(COUNT), size: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        objects = "".join(
            OBJECT.format(name=NAMES[kind], x1=left + 1, y1=top + 1, x2=left + width, y2=top + height)
            for kind, left, top, width, height in boxes_of(number)
        )
        (folder / f"{number:02}.xml").write_text(XML.format(name=f"{number:02}", size=size, objects=objects))


def seen(found: Folder) -> dict[str, list]:
    """Return the objects of every image, as verification reads both parts."""
    sources = {
        part: Source(Path(one.annotations), Path(one.images))
        for part, one in (("train", found.train), ("val", found.val))
    }
    rules = Data("coco", **found.rules)
    splits, categories = read_splits(sources, rules, rules.categories)
    names = {one["id"]: one["name"] for one in categories}
    objects = {}
    for part in splits.values():
        for image in part.coco["images"]:
            objects[Path(image["file_name"]).stem] = sorted(
                (names[one["category_id"]], *map(round, one["bbox"]))
                for one in part.coco["annotations"]
                if one["image_id"] == image["id"]
            )
    return objects


def test_some_categories_alone(place):
    """Pictures without one of them stay; what is kept is a key of the preset, which verification reads."""
    draw(place / "train")
    write_voc(place / "train")
    found = read_folder("own", "", str(place / "train"), categories=" ant ,")
    assert found.rules["categories"] == ["ant"]
    assert found.train_images + found.val_images == COUNT
    assert seen(found) == {name: [one for one in objects if one[0] == "ant"] for name, objects in WANTED.items()}
    with pytest.raises(InputError, match="has no category 'wasp'; correct `categories`"):
        read_folder("own", "", str(place / "train"), categories="wasp")


def test_yolo_with_its_own_parts(place):
    for part, numbers in (("train", range(24)), ("val", range(24, COUNT))):
        draw(place / "images" / part, numbers)
        write_yolo(place / "labels" / part, numbers)
    (place / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: ant, 1: bee}\n")
    found = read_folder("own", "", str(place / "data.yaml"))
    assert seen(found) == WANTED
    assert (found.train_images, found.val_images, found.remarks) == (24, 6, [])
    assert seen(read_folder("own", str(place), str(place))) == WANTED  # the folder is as good as its data.yaml


def test_yolo_as_roboflow_exports_it(place):
    for part, numbers in (("train", range(24)), ("valid", range(24, COUNT))):
        draw(place / part / "images", numbers)
        write_yolo(place / part / "labels", numbers)
    (place / "data.yaml").write_text(
        'train: ../train/images\nval: ../valid/images\nnc: 2\nnames: {"0": ant, "1": bee}\n'
    )
    assert seen(read_folder("own", "", str(place / "data.yaml"))) == WANTED


def test_yolo_polygons_are_boxes_too(place):
    draw(place / "images")
    write_yolo(place / "labels", line="{kind} {left} {top} {right} {top} {right} {bottom} {left} {bottom}\n")
    (place / "labels/classes.txt").write_text("ant\nbee\n")
    found = read_folder("own", str(place / "images"), str(place / "labels"))
    assert seen(found) == WANTED
    assert (found.train_images, found.val_images) == (24, 6)


def test_yolo_lists_of_pictures(place):
    draw(place / "images")
    write_yolo(place / "labels")
    (place / "train.txt").write_text("".join(f"./images/{number:02}.jpg\n" for number in range(24)))
    (place / "val.txt").write_text("".join(f"images/{number:02}.jpg\r\n" for number in range(24, COUNT)))
    (place / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [ant, bee]\n")
    found = read_folder("own", "", str(place / "data.yaml"))
    assert (seen(found), found.train_images) == (WANTED, 24)
    assert seen(read_folder("own", "", str(place / "train.txt"), "", str(place / "val.txt"))) == WANTED


def test_yolo_pictures_without_labels_are_counted(place):
    draw(place / "images")
    write_yolo(place / "labels", range(25))
    (place / "labels/00.txt").write_text((place / "labels/00.txt").read_text() * 2)
    (place / "labels/other.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (place / "data.yaml").write_text("train: images\nval: images\nnames: [ant, bee]\n")
    found = read_folder("own", "", str(place / "data.yaml"))
    assert seen(found) == {name: objects if int(name) < 25 else [] for name, objects in WANTED.items()}
    assert [remark.partition(":")[2].strip() for remark in found.remarks[:4]] == [
        "warning: 5 pictures of 30 without a label file, such as 25.jpg: taken as pictures without objects.",
        "2 lines that repeat another of the same file left out.",
        "1 label file of no picture here, such as other.txt.",
        f"{place}/data.yaml names the same pictures to train and to validate on; they are split.",
    ]


@pytest.mark.parametrize("lists", [(), ("train", "val"), ("trainval", "test"), ("train", "valid")])
def test_voc_folders(place, lists):
    draw(place / "JPEGImages")
    write_voc(place / "Annotations", size=f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>")
    for name, numbers in zip(lists, (range(24), range(24, COUNT)), strict=False):
        (place / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (place / f"ImageSets/Main/{name}.txt").write_text("".join(f"{number:02}\n" for number in numbers))
    found = read_folder("own", "", str(place))
    assert seen(found) == WANTED
    assert (found.train_images, found.val_images, len(found.remarks)) == (24, 6, 0 if lists else 1)
    if lists:
        two = [str(place / f"ImageSets/Main/{name}.txt") for name in lists]
        assert seen(read_folder("own", "", two[0], None, two[1])) == WANTED


def test_one_voc_list_leaves_the_other_pictures_out(place):
    draw(place / "JPEGImages")
    write_voc(place / "Annotations")
    (place / "ImageSets/Main").mkdir(parents=True)
    (place / "ImageSets/Main/train.txt").write_text("".join(f"{number:02}\n" for number in range(24)))
    found = read_folder("own", "", str(place))
    assert seen(found) == {name: objects for name, objects in WANTED.items() if int(name) < 24}
    assert found.remarks[0] == "train: only the pictures of the list train are read."
    (place / "ImageSets/Main/train.txt").rename(place / "ImageSets/Main/mine.txt")
    found = read_folder("own", "", str(place))
    assert seen(found) == WANTED
    assert found.remarks[0].startswith("train: warning: the lists mine are not read")


def test_lists_of_other_tasks_are_none(place):
    """VOC2012 has train and val of segmentation beside the lists of detection."""
    draw(place / "JPEGImages")
    write_voc(place / "Annotations")
    for name, numbers in (("Segmentation/train", (1,)), ("Segmentation/val", (2,)), ("Main/trainval", range(24))):
        (place / f"ImageSets/{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (place / f"ImageSets/{name}.txt").write_text("".join(f"{number:02}\n" for number in numbers))
    (place / "ImageSets/Main/test.txt").write_text("".join(f"{number:02}\n" for number in range(24, COUNT)))
    found = read_folder("own", "", str(place))
    assert (found.train_images, found.val_images, seen(found)) == (24, 6, WANTED)


def test_voc_corners_that_count_from_0(place):
    draw(place / "JPEGImages")
    write_voc(place / "Annotations")
    for path in (place / "Annotations").glob("*.xml"):
        less = re.sub(r"<([xy]min)>(\d+)<", lambda found: f"<{found[1]}>{int(found[2]) - 1}<", path.read_text())
        path.write_text(less)
    found = read_folder("own", "", str(place))
    assert seen(found) == WANTED
    assert found.remarks[0].startswith("train: corners count from 0 here (one of 00.jpg lies there)")


def test_parts_that_share_pictures(place):
    """A tenth is a slip and is said, more is one data set in both parts."""
    draw(place / "images")
    write_yolo(place / "labels")
    (place / "val.txt").write_text("".join(f"images/{number:02}.jpg\n" for number in range(15, COUNT)))
    (place / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [ant, bee]\n")
    for last, many in ((16, False), (17, True)):
        (place / "train.txt").write_text("".join(f"images/{number:02}.jpg\n" for number in range(last)))
        if many:
            with pytest.raises(InputError, match=r"2 of 15 validation pictures, such as .*, are training pictures too"):
                read_folder("own", "", str(place / "data.yaml"))
        else:
            found = read_folder("own", "", str(place / "data.yaml"))
            assert found.remarks[-1].startswith("warning: 1 of 15 validation pictures")


def test_voc_files_beside_their_pictures(place):
    draw(place / "train")
    write_voc(place / "train", range(29))
    found = read_folder("own", str(place / "train"), str(place / "train"))
    wanted = {name: objects for name, objects in WANTED.items() if name != "29"}
    assert seen(found) == wanted
    assert found.remarks[0].startswith("train: warning: 1 picture without an annotation file left out, such as 29.jpg;")
    for path in (place / "train").glob("2[4-9].*"):
        (place / "val").mkdir(exist_ok=True)
        path.rename(place / "val" / path.name)
    two = read_folder("own", str(place / "train"), str(place / "train"), str(place / "val"), str(place / "val"))
    assert (seen(two), two.val_images) == (wanted, 5)


def test_voc_files_beside_a_yaml_of_something_else(place):
    draw(place)
    write_voc(place)
    (place / "data.yaml").write_text("names: [x, y]\n")
    assert seen(read_folder("own", str(place), str(place))) == WANTED


def test_difficult_objects_are_ignored_ones(place):
    draw(place / "JPEGImages")
    write_voc(place / "Annotations")
    path = place / "Annotations/01.xml"
    path.write_text(path.read_text().replace("</name>", "</name><difficult>1</difficult>", 1))
    found = read_folder("own", "", str(place))
    entries = [json.loads(Path(part.annotations).read_text()) for part in (found.train, found.val)]
    assert sum(one["iscrowd"] for part in entries for one in part["annotations"]) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"labels/03.txt": "2 0.5 0.5 0.1 0.1\n"},
            "labels/03.txt line 1 has class 2, but the names are of the classes 0 to 1",
        ),
        (
            {"labels/03.txt": "\n0,0.5,0.5,0.1,0.1\n"},
            "labels/03.txt line 2 reads '0,0.5,0.5,0.1,0.1', but a line is numbers",
        ),
        ({"labels/03.txt": "0 0.5 0.5 0.1 0.1 0.9\n"}, "labels/03.txt line 1 has 5 numbers behind the class"),
        ({"labels/03.txt": "0 nan 0.5 0.1 0.1\n"}, "labels/03.txt line 1 holds a number that is not finite"),
        ({"data.yaml": "train: images\nnames: {0: ant, x: bee}\n"}, "data.yaml has names for [0, 'x'], but classes"),
        ({"data.yaml": "train: images\nnames: [ant, bee]\nkpt_shape: [17, 2]\n"}, "its labels are of poses"),
        ({"list.txt": "images/gone.jpg\n", "data.yaml": "train: list.txt\nnames: [ant]\n"}, "names the picture"),
        ({"data.yaml": "train: images\n"}, "data.yaml must have `names`"),
        ({"data.yaml": "train: pictures\nnames: [ant, bee]\n"}, "data.yaml has train: pictures, but"),
        ({"data.yaml": "names: [ant, bee]\n"}, "data.yaml names no `train` pictures"),
        ({"data.yaml": "train: images\nnames: [ant, ant]\n"}, "data.yaml names class 'ant' twice"),
        ({"data.yaml": "train: images\nnames: [yes, no]\n"}, "data.yaml has names that YAML reads as true or false"),
        (
            {"data.yaml": "train: images\nnames: {1: ant, 2: bee}\n"},
            "data.yaml has names for [1, 2], but classes count 0",
        ),
    ],
)
def test_complaints_of_yolo(place, change, sentence):
    draw(place / "images")
    write_yolo(place / "labels")
    (place / "data.yaml").write_text("train: images\nnames: [ant, bee]\n")
    for name, text in change.items():
        (place / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_folder("own", "", str(place / "data.yaml"))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_boxes_in_pixels_are_no_yolo(place):
    draw(place / "images")
    write_yolo(place / "labels", line="{kind} 20 2{kind} 10 10\n")
    (place / "data.yaml").write_text("train: images\nnames: [ant, bee]\n")
    with pytest.raises(InputError, match=r"of .* boxes do not fit .* as shares of the picture .*boxes: cxcywh"):
        read_folder("own", "", str(place / "data.yaml"))
    found = read_folder("own", "", str(place / "data.yaml"), keys="boxes=cxcywh")
    assert seen(found)["00"] == [("ant", 15, 15, 10, 10), ("bee", 15, 16, 10, 10)]


def test_links_in_circles_and_files_of_others_do_no_harm(place):
    draw(place / "images")
    write_yolo(place / "labels")
    (place / "images/again").symlink_to(place / "images", target_is_directory=True)
    (place / "compose.yaml").write_text("services: [\n")
    (place / "zoo.yaml").write_text("train: images\nnames: [ant, bee]\n")
    assert seen(read_folder("own", "", str(place))) == WANTED


def test_names_in_another_unicode_form_and_case_of_suffix(place):
    draw(place / "images", range(20))
    write_yolo(place / "labels", range(20))
    (place / "images/00.jpg").rename(place / "images" / unicodedata.normalize("NFD", "ä.jpg"))
    (place / "labels/00.txt").rename(place / "labels" / unicodedata.normalize("NFC", "ä.txt"))
    (place / "data.yaml").write_text("train: images\nnames: [ant, bee]\n")
    for words in (("", str(place / "data.yaml")), (str(place / "images"), str(place / "labels"))):
        found = {unicodedata.normalize("NFC", name): one for name, one in seen(read_folder("own", *words)).items()}
        assert found["ä"] == WANTED["00"]


def test_labels_of_one_picture_are_not_another_s(place):
    """Pictures of one name in two folders, of which only one has labels."""
    for name in ("a", "b"):
        draw(place / "images" / name, range(20) if name == "a" else range(20, 40))
    for number in range(20, 40):
        (place / f"images/b/{number}.jpg").rename(place / f"images/b/{number - 20:02}.jpg")
    write_yolo(place / "labels/a", range(20))
    (place / "classes.txt").write_text("ant\nbee\n")
    found = read_folder("own", str(place / "images"), str(place / "labels"))
    files = [json.loads(Path(part.annotations).read_text()) for part in (found.train, found.val)]
    names = {one["id"]: one["file_name"] for file in files for one in file["images"]}
    assert len(names) == 40
    assert {names[one["image_id"]].split("/")[0] for file in files for one in file["annotations"]} == {"a"}


def test_labels_beside_their_pictures_in_a_folder_called_images(place):
    draw(place / "images")
    write_yolo(place / "elsewhere")
    for path in (place / "elsewhere").iterdir():
        path.rename(place / "images" / path.name)
    (place / "data.yaml").write_text("train: images\nnames: [ant, bee]\n")
    assert seen(read_folder("own", "", str(place / "data.yaml"))) == WANTED


def test_two_parts_of_one_image_folder_need_lists(place):
    draw(place / "images")
    write_yolo(place / "labels/train", range(24))
    write_yolo(place / "labels/val", range(24, COUNT))
    (place / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(InputError, match=r"^30 pictures, such as 00\.jpg, would train and validate; name the folder"):
        read_folder("own", str(place / "images"), str(place / "labels/train"), None, str(place / "labels/val"))


def test_what_is_not_there_is_said(place):
    with pytest.raises(InputError, match=r"nowhere\.txt does not exist; correct ANNOTATIONS"):
        read_folder("own", "", "nowhere.txt")


def test_folders_of_no_known_form(place):
    draw(place)
    with pytest.raises(InputError, match="; name an instances JSON, a data"):
        read_folder("own", str(place), str(place))
    (place / "all.json").write_text("{}")
    with pytest.raises(InputError, match=r"name the file .*all\.json"):
        read_folder("own", str(place), str(place))


def test_labels_without_pictures_or_names(place):
    draw(place / "images")
    (place / "labels").mkdir()
    (place / "labels/99.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"write the names of the classes there, one a line, as classes\.txt"):
        read_folder("own", str(place / "images"), str(place / "labels"))
    (place / "classes.txt").write_text("ant\n\nbee\n\n")
    with pytest.raises(InputError, match=r"names class '' twice, or not at all"):
        read_folder("own", str(place / "images"), str(place / "labels"))
    (place / "classes.txt").write_text("ant\n\n")
    (place / "notes.yaml").write_text("names: [x, y]\n")
    with pytest.raises(InputError, match=r"notes\.yaml and .*classes\.txt both name classes"):
        read_folder("own", str(place / "images"), str(place / "labels"))
    (place / "notes.yaml").unlink()
    with pytest.raises(InputError, match="none of 30 pictures has a label file"):
        read_folder("own", str(place / "images"), str(place / "labels"))
    with pytest.raises(InputError, match="name the folder of their pictures as IMAGES"):
        read_folder("own", "", str(place / "labels"))
