"""Batch streams: stateless, every epoch a permutation, batches of one orientation where enough images share it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.samplers import BatchStream, orientations

groups = st.lists(st.integers(0, 1), min_size=1, max_size=60)


def epoch(stream: BatchStream, number: int) -> list[list[int]]:
    count = stream.batches_per_epoch
    return [stream.batch(index) for index in range(number * count, (number + 1) * count)]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@settings(max_examples=60)
@given(groups, st.integers(1, 9), st.integers(0, 2**40), st.integers(0, 5))
def test_an_epoch_shows_every_row_at_most_once(rows, size, seed, number):
    stream = BatchStream(rows, size, seed)
    batches = epoch(stream, number)
    seen = flat(batches)
    assert all(len(batch) == size for batch in batches)
    if len(rows) >= size:
        assert len(batches) == len(rows) // size
        assert len(seen) == len(set(seen)) == len(rows) // size * size
    else:
        assert len(batches) == 1
        assert set(seen) == set(range(len(rows)))  # repeated to fill the batch
        counts = [seen.count(row) for row in set(seen)]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=60)
@given(groups, st.integers(1, 9), st.integers(0, 1000))
def test_at_most_the_rest_of_each_orientation_is_mixed(rows, size, seed):
    mixed = sum(len({rows[row] for row in batch}) > 1 for batch in epoch(BatchStream(rows, size, seed), 0))
    rest = sum(rows.count(group) % size for group in set(rows))
    assert mixed <= (rest // size if len(rows) >= size else 1)


@settings(max_examples=30)
@given(groups, st.integers(1, 9), st.integers(0, 1000), st.lists(st.integers(0, 100), max_size=8))
def test_a_batch_depends_on_seed_and_number_alone(rows, size, seed, indices):
    used = BatchStream(rows, size, seed)
    for index in indices:
        used.batch(index)
    for index in reversed(indices):
        assert used.batch(index) == BatchStream(rows, size, seed).batch(index)


def test_epochs_and_seeds_differ():
    stream = BatchStream([0] * 40, 4, 7)
    assert epoch(stream, 0) != epoch(stream, 1)
    assert epoch(stream, 0) != epoch(BatchStream([0] * 40, 4, 8), 0)
    assert sorted(flat(epoch(stream, 1))) == list(range(40))


def test_the_rest_differs_from_epoch_to_epoch():
    stream = BatchStream([0] * 10, 4, 0)
    left_out = [frozenset(range(10)) - set(flat(epoch(stream, number))) for number in range(20)]
    assert all(len(rest) == 2 for rest in left_out)
    assert frozenset().union(*left_out) == set(range(10))


def test_orders_of_batches_mix_the_orientations():
    stream = BatchStream([0] * 20 + [1] * 20, 4, 0)
    kinds = [batch[0] >= 20 for batch in epoch(stream, 0)]
    assert sum(kinds) == 5
    assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="needs at least one row"):
        BatchStream([], 2, 0)


def test_orientations():
    assert orientations([(480, 640), (640, 480), (5, 5)]) == [0, 1, 0]
