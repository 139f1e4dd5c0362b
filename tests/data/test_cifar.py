"""CIFAR-100's binary records, by hand."""

import pickle

import numpy as np
import pytest

from pipeline.data.labelled.cifar import RECORD, first_of_each_class, read_cifar100
from pipeline.errors import InputError


def write(path, labels):
    records = np.zeros((len(labels), RECORD), np.uint8)
    for row, label in enumerate(labels):
        records[row, 0], records[row, 1] = 19, label
        records[row, 2:1026], records[row, 1026:2050], records[row, 2050:] = row, row + 10, row + 20
        records[row, 2 + 33] = 200  # red, second row, second column
    path.write_bytes(records.tobytes())


def test_records_are_coarse_label_fine_label_and_planes(tmp_path):
    write(tmp_path / "train.bin", [7, 99])
    data = read_cifar100(tmp_path / "train.bin")
    assert (len(data), data.labels, len(data.classes)) == (2, (7, 99), 100)
    assert data.image(1).shape == (32, 32, 3)
    assert data.image(1)[0, 0].tolist() == [1, 11, 21]
    assert data.image(1)[1, 1].tolist() == [200, 11, 21]


def test_names_stand_beside_the_records(tmp_path):
    write(tmp_path / "train.bin", [3])
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"class_{i}" for i in range(100)))
    assert read_cifar100(tmp_path / "train.bin").classes[3] == "class_3"
    (tmp_path / "fine_label_names.txt").write_text("apple")
    with pytest.raises(InputError, match="holds 1 names, but CIFAR-100 has 100"):
        read_cifar100(tmp_path / "train.bin")


def test_the_pickled_version_is_never_read(tmp_path):
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps({"data": [1, 2, 3]}))
    with pytest.raises(InputError, match="python version is a pickle and is never read"):
        read_cifar100(path)


def test_wrong_files_end_in_one_sentence(tmp_path):
    path = tmp_path / "train.bin"
    with pytest.raises(InputError, match="does not exist; unpack CIFAR-100's binary version"):
        read_cifar100(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="has 0 bytes"):
        read_cifar100(path)
    write(path, [0, 100])
    with pytest.raises(InputError, match="record 1 has fine label 100, but labels end at 99"):
        read_cifar100(path)


def test_the_first_images_of_the_first_classes(tmp_path):
    write(tmp_path / "train.bin", [1, 0, 2, 1, 1, 0])
    data = first_of_each_class(read_cifar100(tmp_path / "train.bin"), 2, 2)
    assert data.labels == (1, 0, 1, 0)
    assert [int(data.image(row)[0, 0, 0]) for row in range(4)] == [0, 1, 3, 5]
    assert len(data.classes) == 2
    everything = first_of_each_class(read_cifar100(tmp_path / "train.bin"), None, None)
    assert everything.labels == (1, 0, 2, 1, 1, 0)
