"""Labelled image folders and split files: ids by sorted names, bad files counted, one sentence for each mistake."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.labelled.image_folder import read_folder, read_split
from pipeline.errors import InputError


def draw(path: Path, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (4, 3), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw(tmp_path / "train/zebra/b.png", (1, 2, 3))
    draw(tmp_path / "train/zebra/a.png", (4, 5, 6))
    draw(tmp_path / "train/ant/c.jpg")
    draw(tmp_path / "val/ant/d.png")
    draw(tmp_path / "val/zebra/e.png")
    return tmp_path


def test_sorted_names_are_the_ids(folder):
    data = read_folder(folder / "train", "train")
    assert data.classes == ("ant", "zebra")
    assert data.files == ("ant/c.jpg", "zebra/a.png", "zebra/b.png")
    assert data.labels == (0, 1, 1)
    assert data.left_out == ()
    assert data.image(1).shape == (3, 4, 3)
    assert data.image(1)[0, 0].tolist() == [4, 5, 6]
    assert data.image(1).dtype == np.uint8
    assert read_folder(folder / "train", "train", limit=1).files == ("ant/c.jpg", "zebra/a.png")


@pytest.mark.parametrize("place", [".", "val"])
def test_validation_images_in_one_folder_are_read_by_the_published_solution(tmp_path, place):
    for number in range(4):
        draw(tmp_path / f"val/ILSVRC2012_val_{number}.JPEG", (number, 0, 0))
    solution = tmp_path / place / "LOC_val_solution.csv"
    lines = [
        f"ILSVRC2012_val_{k},{name} 1 2 3 4 {name} 5 6 7 8 \n" for k, name in zip((3, 0, 2, 1), "baab", strict=True)
    ]
    solution.write_text("ImageId,PredictionString\n" + "".join(lines))
    data = read_folder(tmp_path / "val", "val", ("a", "b"))
    assert data.files == tuple(f"ILSVRC2012_val_{k}.JPEG" for k in (0, 2, 1, 3))
    assert data.labels == (0, 0, 1, 1)
    assert read_folder(tmp_path / "val", "val", ("b",), limit=1).files == ("ILSVRC2012_val_1.JPEG",)
    solution.write_text("ImageId,PredictionString\nILSVRC2012_val_0,\n")
    with pytest.raises(InputError, match="line 2 has not `ImageId,PredictionString`; take the file as published"):
        read_folder(tmp_path / "val", "val", ("a",))


def test_grey_and_transparent_images_become_rgb(folder):
    draw(folder / "train/ant/grey.png", 7, mode="L")
    draw(folder / "train/ant/clear.png", (9, 8, 7, 0), mode="RGBA")
    data = read_folder(folder / "train", "train")
    assert data.image(data.files.index("ant/grey.png"))[0, 0].tolist() == [7, 7, 7]
    assert data.image(data.files.index("ant/clear.png"))[0, 0].tolist() == [9, 8, 7]


def test_bad_files_are_left_out_and_named(folder):
    whole = (folder / "train/ant/c.jpg").read_bytes()
    (folder / "train/ant/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "train/ant/empty.png").write_bytes(b"")
    (folder / "train/ant/notes.txt").write_text("no picture")
    (folder / "train/ant/.DS_Store").write_bytes(b"hidden files are no part of a data set")
    data = read_folder(folder / "train", "train")
    assert data.files == ("ant/c.jpg", "zebra/a.png", "zebra/b.png")
    assert len(data.left_out) == 3
    text = " ".join(data.left_out)
    assert "ant/notes.txt is no image file" in text
    assert "'ant/cut.jpg' cannot be decoded" in text
    assert "'ant/empty.png' is empty" in text


def test_files_are_decoded_only_once_until_they_change(folder, monkeypatch):
    from pipeline.data.labelled import image_folder

    decoded = []
    original = image_folder.read_image
    monkeypatch.setattr(image_folder, "read_image", lambda *a, **k: decoded.append(a[1]) or original(*a, **k))
    (folder / "train/ant/empty.png").write_bytes(b"")
    first = read_folder(folder / "train", "train")
    assert len(decoded) == 4
    again = read_folder(folder / "train", "train")
    assert (len(decoded), again) == (4, first)
    draw(folder / "train/ant/empty.png")
    assert len(read_folder(folder / "train", "train")) == 4
    assert len(decoded) == 8


def test_mistakes_end_in_one_sentence(folder):
    train = read_folder(folder / "train", "train")
    (folder / "val/zebra").rename(folder / "val/zebras")
    with pytest.raises(InputError, match=r"val: .* has no class folder 'zebra'; did you mean 'zebras'\?"):
        read_folder(folder / "val", "val", train.classes)
    with pytest.raises(InputError, match=r"image folder .*nowhere does not exist"):
        read_folder(folder / "nowhere", "train")
    (folder / "flat").mkdir()
    with pytest.raises(InputError, match="has no sub-folder, but each class is one"):
        read_folder(folder / "flat", "train")
    (folder / "train/zzz").mkdir()
    (folder / "train/zzz/x.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"class 'zzz' has no readable image \(.*x.png"):
        read_folder(folder / "train", "train")


SYNSETS = [  # ids of the kit do not follow the names; inner nodes of WordNet's tree come last
    {"ILSVRC2012_ID": 2, "WNID": "ant", "num_children": 0},
    {"ILSVRC2012_ID": 1, "WNID": "zebra", "num_children": 0},
    {"ILSVRC2012_ID": 3, "WNID": "n00001740", "num_children": 2},
]


@pytest.fixture
def flat(folder):
    """ImageNet's validation images as their archive has them: in one folder, zebra, ant, ant."""
    images = folder / "flat"
    for number in (1, 2, 3):
        draw(images / f"ILSVRC2012_val_{number:08d}.JPEG")
    return images


def check_flat(flat):
    found = read_folder(flat, "val", ("ant", "zebra"))
    assert found.files == tuple(f"ILSVRC2012_val_{number:08d}.JPEG" for number in (2, 3, 1))
    assert found.labels == (0, 0, 1)
    assert read_folder(flat, "val", ("ant", "zebra"), limit=1).labels == (0, 1)
    assert read_folder(flat, "val", ("zebra",)).files == ("ILSVRC2012_val_00000001.JPEG",)


def test_validation_images_in_one_folder_with_kaggles_file(flat):
    lines = [f"ILSVRC2012_val_{n:08d},{c} 1 2 3 4 {c} 5 6 7 8 \n" for n, c in ((2, "ant"), (1, "zebra"), (3, "ant"))]
    (flat.parent / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
    check_flat(flat)
    (flat.parent / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,\n")
    with pytest.raises(InputError, match="line 2 has not `ImageId,PredictionString`"):
        read_folder(flat, "val", ("ant",))


@pytest.mark.parametrize("place", [".", ".."])
def test_validation_images_in_one_folder_with_the_development_kit(flat, monkeypatch, place):
    kit = flat / place / "ILSVRC2012_devkit_t12"
    (kit / "data").mkdir(parents=True)
    (kit / "data/ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n2\n")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(InputError, match=r"is a MATLAB file, .* pip install scipy, or put LOC_val_solution.csv"):
        read_folder(flat, "val", ("ant",))
    scipy = types.ModuleType("scipy.io")
    scipy.loadmat = lambda path, squeeze_me: {"synsets": SYNSETS} if squeeze_me and path.name == "meta.mat" else None
    monkeypatch.setitem(sys.modules, "scipy", types.ModuleType("scipy"))
    monkeypatch.setitem(sys.modules, "scipy.io", scipy)
    check_flat(flat)
    (kit / "data/ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n2\n")
    with pytest.raises(InputError, match=r"does not hold what it should .* unpack the kit anew"):
        read_folder(flat, "val", ("ant",))


def test_digest_follows_files_and_labels(folder):
    before = read_folder(folder / "train", "train").digest
    assert read_folder(folder / "train", "train").digest == before
    draw(folder / "train/ant/more.png")
    assert read_folder(folder / "train", "train").digest != before


def test_a_split_file_names_images_and_classes(folder):
    file = folder / "split.csv"
    file.write_text("split,file,class\ntrain,train/zebra/a.png,z\ntrain,train/ant/c.jpg,a\nval,val/ant/d.png,a\n")
    train = read_split(file, folder, "train")
    assert (train.classes, train.labels) == (("a", "z"), (1, 0))
    with pytest.raises(InputError, match="class 'z' has no readable image"):
        read_split(file, folder, "val", train.classes)
    for text, message in (
        ("split,file\n", "has no column 'class'; its first line must be split,file,class"),
        ("split,file,class\ntrain,../x.png,a\n", "leaves the image folder"),
        ("split,file,class\ntrain,x.png\n", "line 2 has not 3 fields"),
        ("split,file,class\nval,val/ant/d.png,a\n", "has no row of split 'train'"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_split(file, folder, "train")
    file.write_text("split,file,class\nval,val/ant/d.png,ant\n")
    with pytest.raises(InputError, match=r"class 'ant', which no training row has; did you mean 'ants'\?"):
        read_split(file, folder, "val", ("ants",))
