"""Own files of another structure, some of each kind from a fixed seed."""

import random

import fuzz_own
import pytest

from pipeline.errors import InputError


@pytest.mark.parametrize("reader", fuzz_own.READERS, ids=lambda reader: reader.__name__)
def test_own_files_of_another_structure_end_in_one_sentence(reader, tmp_path):
    said = []
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            reader(folder, random.Random(number))
        except InputError as error:
            said.append(str(error))
    assert not any("\n" in sentence for sentence in said)
    assert (len(said) > 5) is ("lock" not in reader.__name__)  # locks are mended
