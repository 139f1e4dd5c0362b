"""What a step is fed: regular images, mixed sizes and collages, by hand on images of one colour each."""

from __future__ import annotations

import pytest
import tiny
import torch

from pipeline.data.detection_set import load_scaled
from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.options import CollageOptions
from pipeline.training.collage_feeding import CollageFeeder
from pipeline.training.feeding import COLLAGE, REGULAR, RegularBatches, build_feeder
from pipeline.training.pyramid import PyramidBatches

# The tiny preset's networks see a short side of 80 and a long side of up to 133.3 pixels.
LANDSCAPE = (40, 60)
TARGETS = [{"boxes": torch.tensor([[0.0, 0, 1, 1]])}]


def images(count: int, size: tuple[int, int] = LANDSCAPE) -> tiny.FakeSet:
    """Return images with one box each: the left upper quarter."""
    height, width = size
    return tiny.FakeSet([size] * count, [[[0, 0, width / 2, height / 2]]] * count)


def losses(small: float, large: float) -> PositiveLosses:
    """Return positives of one small (4 px^2) and one large object with these regression losses."""
    return PositiveLosses(torch.tensor([small, large]), torch.zeros(2), torch.tensor([4.0, 1000.0]))


def same(a: tuple, b: tuple) -> bool:
    """Return whether two batches hold equal images and targets."""
    targets = all(torch.equal(x[key], y[key]) for x, y in zip(a[1], b[1], strict=True) for key in x)
    return targets and all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True))


def test_sizes_and_boxes_by_hand():
    data = tiny.FakeSet([(40, 60), (30, 100)], [[[6, 4, 12, 20]], [[10, 3, 100, 30]]])
    image, boxes = load_scaled(data, 0, 80, 133.3)
    assert image.shape == (3, 80, 120)
    assert boxes.tolist() == [[12, 8, 24, 40]]
    image, boxes = load_scaled(data, 1, 80, 133.3)  # the long side decides: 133.3 / 100
    assert image.shape == (3, 40, 133)
    torch.testing.assert_close(boxes, torch.tensor([[13.3, 4.0, 133.0, 40.0]]))


def test_half_of_the_images_are_flipped():
    batches = RegularBatches(tiny.plain(flip=0.5), images(8), 8, REGULAR)
    lefts = [target["boxes"][0, 0].item() for index in range(25) for target in batches[index][1]]
    assert set(lefts) == {0.0, 60.0}  # boxes 60 wide in images 120 wide
    assert 70 < sum(left > 0 for left in lefts) < 130  # of 200; four standard deviations


def test_batch_is_a_function_of_its_number():
    spec, data = tiny.plain(flip=0.5, short_sides=(600, 800, 1000)), images(7)
    first = RegularBatches(spec, data, 2, REGULAR)
    expected = [first[index] for index in range(8)]
    again = RegularBatches(spec, data, 2, REGULAR)
    assert all(same(again[index], expected[index]) for index in reversed(range(8)))
    other = RegularBatches(spec, data, 2, COLLAGE)
    assert not all(same(other[index], expected[index]) for index in range(8))


def test_epoch_shows_every_image_once():
    batches = RegularBatches(tiny.plain(), images(6), 2, REGULAR)
    rows = [tiny.image_row(image) for index in range(3) for image in batches[index][0]]
    assert sorted(rows) == [0, 1, 2, 3, 4, 5]


def test_multi_scale_training_draws_a_side_for_every_image():
    batches = RegularBatches(tiny.plain(short_sides=(600, 800, 1000)), images(6), 6, REGULAR)
    sizes = {tuple(image.shape[1:]) for index in range(10) for image in batches[index][0]}
    assert sizes == {(60, 90), (80, 120), (89, 133)}  # the long side is at most 1333, whatever short side is drawn


@pytest.mark.parametrize("short", [400, 600, 800, 1000, 1200])
def test_every_side_of_multi_scale_training_has_the_recipes_limit_of_the_long_side(short):
    wide = RegularBatches(tiny.plain(short_sides=(short,)), images(2, (30, 100)), 2, REGULAR)
    assert tuple(wide[0][0][0].shape[1:]) == (40, 133)


def test_builder_follows_the_method():
    data = images(6)
    assert isinstance(build_feeder(tiny.plain(), data, 4).batches, RegularBatches)
    assert isinstance(build_feeder(tiny.spec("dst_frcnn_r50_fpn_1x_dst"), data, 4), CollageFeeder)
    assert isinstance(build_feeder(tiny.spec("snip_drfcn_r50_7ep_snip"), data, 4).batches, PyramidBatches)
    assert isinstance(build_feeder(tiny.spec("snip_drfcn_r50_7ep_ms_train"), data, 4).batches, PyramidBatches)


def test_plain_feeder_goes_on_from_any_step():
    spec, data = tiny.plain(flip=0.5), images(6)
    whole = build_feeder(spec, data, 8)
    expected = [whole.batch(step) for step in range(8)]
    resumed = build_feeder(spec, data, 8)
    resumed.load_state_dict(whole.state_dict())
    assert all(same(resumed.batch(step), expected[step]) for step in range(5, 8))


def test_starting_a_feeder_draws_no_random_numbers():
    # A resumed training starts its loader at another step than an uninterrupted one.
    for method in ({}, {"collage": CollageOptions()}):
        feeder = build_feeder(tiny.plain(**method), images(8), 4)
        torch.manual_seed(0)
        feeder.batch(0)
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))


# Collages


def test_collage_holds_four_images_in_reading_order():
    spec = tiny.plain(collage=CollageOptions(), batch=1)
    feeder = CollageFeeder(spec, images(4), 4)
    (collage,), (target,), info = feeder.batch(0)
    assert info["collage"] is True
    rows_seen = RegularBatches(spec, images(4), 4, COLLAGE).stream.batch(0)
    assert info["image_ids"] == [row + 1 for row in rows_seen]  # of the components
    assert info["file_names"] == [f"{row + 1}.png" for row in rows_seen]
    # 80x120 images, a canvas of whole 32s: 96x128, cells of 48x64.
    assert collage.shape == (3, 96, 128)
    rows = [tiny.image_row(collage[:, y : y + 48, x : x + 64]) for y in (0, 48) for x in (0, 64)]
    assert rows == RegularBatches(spec, images(4), 4, COLLAGE).stream.batch(0)
    # The left upper quarter of every image, in its cell.
    expected = [[0, 0, 32, 24], [64, 0, 96, 24], [0, 48, 32, 72], [64, 48, 96, 72]]
    torch.testing.assert_close(target["boxes"], torch.tensor(expected, dtype=torch.float32))
    assert target["labels"].tolist() == [1, 1, 1, 1]


def test_collages_of_a_batch_share_one_canvas():
    data = tiny.FakeSet([(40, 60)] * 4 + [(40, 44)] * 4, [[] for _ in range(8)])
    collages, targets, _ = CollageFeeder(tiny.plain(collage=CollageOptions(), batch=2), data, 4).batch(0)
    assert [tuple(c.shape) for c in collages] == [(3, 96, 128)] * 2
    assert [len(target["boxes"]) for target in targets] == [0, 0]
    assert targets[0]["boxes"].shape == (0, 4)


def test_smallest_objects_leave_collages_where_a_limit_asks():
    spec = tiny.plain(collage=CollageOptions(min_area=76801), batch=1)  # times 0.1^2 = 768.01 network pixels
    assert len(CollageFeeder(spec, images(4), 4).batch(0)[1][0]["boxes"]) == 0  # boxes of 32x24 = 768
    spec = tiny.plain(collage=CollageOptions(min_area=76800), batch=1)
    assert len(CollageFeeder(spec, images(4), 4).batch(0)[1][0]["boxes"]) == 4


def test_first_batch_is_a_collage_and_feedback_decides_the_others():
    feeder = CollageFeeder(tiny.plain(collage=CollageOptions(threshold=0.1), batch=1), images(8), 20)
    empty = [{"boxes": torch.zeros(0, 4)}]
    seen = []
    script = [
        (losses(0.05, 0.95), TARGETS),  # small objects carry 5 %: a collage follows
        (losses(0.10, 0.90), TARGETS),  # 10 % is not under the threshold (the comparison is strict): regular
        (losses(0.5, 0.5), TARGETS),  # regular
        (losses(0.0, 1.0), TARGETS),  # collage
        (losses(0.5, 0.5), empty),  # an image without objects: the decision stays, collage
        (losses(0.0, 0.0), TARGETS),  # no share exists: regular
        (losses(0.0, 1.0), [*TARGETS, *empty]),  # stays regular
        (losses(0.0, 1.0), TARGETS),  # collage
    ]
    for step, (positives, objects) in enumerate(script):
        seen.append(feeder.batch(step)[2]["collage"])
        feeder.observe(positives, objects)
    seen.append(feeder.batch(len(script))[2]["collage"])
    assert seen == [True, True, False, False, True, True, False, False, True]
    assert feeder.used == {"regular": 4, "collage": 5}


def test_streams_advance_apart():
    spec, data = tiny.plain(flip=0.5, collage=CollageOptions(), batch=2), images(24)
    feeder = CollageFeeder(spec, data, 20)
    regular, collages = [], []
    for step in range(9):
        batch = feeder.batch(step)
        (collages if batch[2]["collage"] else regular).append(batch)
        feeder.observe(losses(*((0.0, 1.0) if step % 3 else (1.0, 0.0))), TARGETS)
    assert (len(regular), len(collages)) == (3, 6)
    alone = RegularBatches(spec, data, 2, REGULAR)
    assert all(same(batch, alone[number]) for number, batch in enumerate(regular))
    # A collage step eats four times as many new images: an epoch of 24 images is 3 collage steps of 8.
    sources = RegularBatches(spec, data, 8, COLLAGE)
    rows = [row for number in range(3) for row in sources.stream.batch(number)]
    assert sorted(rows) == list(range(24))
    assert all(same(batch, feeder.sources[number]) for number, batch in enumerate(collages))


def test_feedback_and_streams_survive_a_restart():
    spec, data = tiny.plain(flip=0.5, collage=CollageOptions(), batch=2), images(24)

    def go(feeder: CollageFeeder, start: int, stop: int) -> list[tuple]:
        batches = []
        for step in range(start, stop):
            batches.append(feeder.batch(step))
            feeder.observe(losses(*((0.0, 1.0) if step % 3 else (1.0, 0.0))), TARGETS)
        return batches

    whole = go(CollageFeeder(spec, data, 9), 0, 9)
    for cut in range(1, 9):
        first, second = (CollageFeeder(spec, data, 9) for _ in range(2))
        go(first, 0, cut)
        state = first.state_dict()
        first.batch(cut)  # a state is a snapshot
        second.load_state_dict(state)
        rest = go(second, cut, 9)
        assert [batch[2] for batch in rest] == [batch[2] for batch in whole[cut:]]
        assert all(same(a, b) for a, b in zip(rest, whole[cut:], strict=True))


def test_input_ratio_counts_objects_of_the_batch():
    feeder = CollageFeeder(tiny.plain(collage=CollageOptions(feedback="input_ratio"), batch=1), images(8), 4)
    boxes = torch.tensor([[0.0, 0, 3, 3], [0, 0, 3.2, 3.3], [0, 0, 50, 50]])
    assert feeder.schedule.small_area == pytest.approx(3.2**2)  # (32 * 0.1)^2 network pixels
    feeder.observe(losses(0.0, 1.0), [{"boxes": boxes}])  # one of three is small
    assert feeder.schedule.collage(1) is False
    feeder.observe(losses(1.0, 0.0), [{"boxes": boxes[1:]}])
    assert feeder.schedule.collage(2) is True
