"""Reading VOC folders: coordinates, difficult objects, classes, layouts, and mistakes."""

import pytest
from tiny_sets import voc_object, write_voc

from pipeline.data.verify import Source, verify
from pipeline.data.voc import read_voc
from pipeline.errors import InputError


@pytest.fixture
def voc(tmp_path):
    objects = {
        "000001": [voc_object("dog", 1, 1, 20, 10), voc_object("cat", 3, 4, 3, 4, difficult=1)],
        "000002": [],
        "000003": [voc_object("aeroplane", "2.5", 2, 8, 9)],
    }
    splits = {"trainval": ["000001", "000002"], "test": ["000003"]}
    return write_voc(tmp_path / "VOCdevkit" / "VOC2012", splits, objects).parent.parent


def xml_of(voc, name="000001"):
    return voc / "VOCdevkit" / "VOC2012" / "Annotations" / f"{name}.xml"


def test_boxes_are_one_based_and_inclusive(voc):
    coco, counts, _ = read_voc(voc, "trainval")
    assert coco["images"] == [
        {"id": 1, "file_name": "VOC2012/JPEGImages/000001.jpg", "width": 20, "height": 10},
        {"id": 2, "file_name": "VOC2012/JPEGImages/000002.jpg", "width": 20, "height": 10},
    ]
    dog, cat = coco["annotations"]
    assert (dog["bbox"], dog["area"], dog["iscrowd"]) == ([0, 0, 20, 10], 200, 0)  # the whole image
    assert (cat["bbox"], cat["area"], cat["iscrowd"]) == ([2, 3, 1, 1], 1, 1)  # one pixel
    assert (dog.get("difficult"), cat["difficult"]) == (None, 1)
    assert coco["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert coco["images_root"] == (voc / "VOCdevkit").as_posix()
    assert counts == {}


def test_given_class_names_keep_their_ids(voc):
    coco, _, _ = read_voc(voc, "test", names=["cat", "dog"])
    assert [c["name"] for c in coco["categories"]] == ["cat", "dog", "aeroplane"]
    (plane,) = coco["annotations"]
    assert (plane["category_id"], plane["bbox"]) == (3, [1.5, 1, 6.5, 8])  # of fractional coordinates


def test_parts_of_persons_are_no_objects(voc):
    path = xml_of(voc)
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    path.write_text(path.read_text().replace("<difficult>0", part + "<difficult>0"))
    assert read_voc(voc, "trainval")[0]["annotations"][0]["bbox"] == [0, 0, 20, 10]


def test_every_layout_gives_the_same_objects(voc):
    wanted = read_voc(voc, "trainval")[0]["annotations"]
    for root in (voc / "VOCdevkit", voc / "VOCdevkit" / "VOC2012"):
        coco, _, _ = read_voc(root, "trainval")
        assert coco["annotations"] == wanted
    assert coco["images"][0]["file_name"] == "JPEGImages/000001.jpg"


def test_years_are_joined_in_the_order_given(voc):
    write_voc(voc / "VOCdevkit" / "VOC2007", {"trainval": ["000009"]}, {"000009": [voc_object("dog", 2, 2, 3, 3)]})
    with pytest.raises(InputError, match=r"holds VOC2007, VOC2012; name the years to read\.$"):
        read_voc(voc, "trainval")
    coco, _, _ = read_voc(voc, "trainval", years=("2007", "VOC2012"))
    assert [image["file_name"][:7] for image in coco["images"]] == ["VOC2007", "VOC2012", "VOC2012"]
    assert [(a["id"], a["image_id"]) for a in coco["annotations"]] == [(1, 1), (2, 2), (3, 2)]
    with pytest.raises(InputError, match=r"has no VOC2008, only VOC2007, VOC2012; correct the year\.$"):
        read_voc(voc, "trainval", years=("2008",))


def test_size_of_zero_is_read_from_the_image(voc):
    path = xml_of(voc)
    path.write_text(path.read_text().replace("<width>20", "<width>0"))
    coco, counts, _ = read_voc(voc, "trainval")
    assert coco["images"][0]["width"] == 20
    assert counts == {"size_from_file": 1}


def test_lists_of_one_class_and_degenerate_boxes(voc):
    path = xml_of(voc)
    path.write_text(path.read_text().replace("<xmax>20", "<xmax>0"))
    (voc / "VOCdevkit/VOC2012/ImageSets/Main/dog_trainval.txt").write_text("000001  1\n000002 -1\n\n")
    coco, counts, _ = read_voc(voc, "dog_trainval")
    assert len(coco["images"]) == 2
    assert counts == {"degenerate_box": 1}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("</annotation>", "", r"000001\.xml is not valid XML \(no element found.*\); repair or re-download it\.$"),
        ("annotation>", "html>", r"holds <html>, but a VOC annotation is <annotation>; correct the file\.$"),
        ("<name>dog</name>", "", r"000001\.xml: object 1 has no name; add it, or remove the object\.$"),
        ("bndbox>", "box>", r"object 1 \(dog\) has no bndbox; add it, or remove the object\.$"),
        ("<xmax>20", "<xmax>wide", r"object 1 \(dog\) has xmax 'wide', but it must be a number of pixels; .*\.$"),
        ("<ymax>10</ymax>", "", r"object 1 \(dog\) has ymax '', but it must be a number of pixels; .*\.$"),
        ("<width>20", "<width>-20", r"000001\.xml has width '-20', but it must be a whole number of pixels; .*\.$"),
        ("<difficult>1", "<difficult>maybe", r"object 2 \(cat\) has difficult 'maybe', but it must be 0 or 1; .*\.$"),
        ("<ann", "<!DOCTYPE a [<!ENTITY b 'c'>]><ann", r"declares entities or is huge.*re-create it\.$"),
    ],
)
def test_broken_annotation_is_one_sentence(voc, old, new, sentence):
    path = xml_of(voc)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=sentence) as caught:
        read_voc(voc, "trainval")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("split", "names", "sentence"),
    [
        ("trainvall", None, r"has no split 'trainvall', only test, trainval; did you mean 'trainval'"),
        ("empty", "", r"empty\.txt names no image, so the data set is empty; fill it\.$"),
        ("twice", "000001\n000001", r"names '000001' more than once; remove the repetition\.$"),
        ("absent", "000077", r"000077\.xml does not exist"),
        ("evil", "../../../evil", r"leaves the image folder|leaves the folder"),
        ("bare", "000002", r"has no object in split 'bare'; give a split with annotated objects\.$"),
    ],
)
def test_mistakes_in_splits(voc, split, names, sentence):
    if names is not None:
        (voc / f"VOCdevkit/VOC2012/ImageSets/Main/{split}.txt").write_text(names + "\n")
    with pytest.raises(InputError, match=sentence):
        read_voc(voc, split)


def test_no_voc_folder(tmp_path):
    with pytest.raises(InputError, match=r"is no VOC folder: neither JPEGImages.*correct the path\.$"):
        read_voc(tmp_path, "trainval")


def test_verified_voc_has_one_class_map_for_both_splits(voc, tmp_path):
    sources = {name: Source(voc_root=voc, voc_split=split) for name, split in (("train", "trainval"), ("val", "test"))}
    manifest = verify("own", "voc", sources, 1.0, tmp_path / "out")
    assert [(c["id"], c["name"]) for c in manifest["categories"]] == [(1, "cat"), (2, "dog"), (3, "aeroplane")]
    train, val = manifest["splits"]["train"], manifest["splits"]["val"]
    assert (train["objects"], train["crowd"], train["difficult"]) == (1, 0, 1)
    assert train["objects_per_category"] == [0, 1, 0]
    assert val["objects_per_category"] == [0, 0, 1]
    assert val["excluded"] == {"category_not_in_train": 1}
    assert train["files"][0][0] == "VOC2012/JPEGImages/000001.jpg"
