"""Batches of an image pyramid: every object at the resolutions where its size fits (SNIP), by hand."""

from collections import Counter

import pytest
import tiny
import torch
from msgspec.structs import replace

from pipeline.errors import InputError
from pipeline.models import build_detector
from pipeline.options import PyramidLevel
from pipeline.spec import Spec
from pipeline.training.pyramid import PyramidBatches, count_units
from pipeline.training.pyramid_units import Unit, units_of, valid_flags
from pipeline.training.snip import wire_snip

# Files have COCO's own pixels (factor 1 for valid ranges); networks see a tenth of the papers' resolutions: a 480x640
# image is 140x187 at 1400 (chips of 100), 80x107 at 800, 48x64 at 480.
SIZE = (480, 640)
SMALL, MEDIUM, LARGE = [10, 10, 30, 30], [50, 50, 150, 150], [200, 100, 500, 400]  # sides 20, 100 and 300
BOXES = [[SMALL], [MEDIUM], [LARGE], [SMALL, MEDIUM, LARGE], []]
SWITCH = 20  # first batch with valid ranges


def pyramid_spec(name: str = "snip", batch: int = 1, flip: float = 0.0) -> Spec:
    found = tiny.c4(f"snip_drfcn_r50_7ep_{name}", batch=batch)
    return tiny.changed(found, recipe={"flip": flip}, preset={"factor": 0.1, "original_factor": 1.0})


def batches(switch: int | None = SWITCH, **options) -> PyramidBatches:
    return PyramidBatches(pyramid_spec(**options), tiny.FakeSet([SIZE] * len(BOXES), BOXES), switch)


def seen(source: PyramidBatches, start: int, stop: int) -> Counter:
    """Count (resolution, image) over batches of one image."""
    found: Counter = Counter()
    for index in range(start, stop):
        images, _, info = source[index]
        found[info["resolution"], tiny.image_row(images[0])] += 1
    return found


def test_images_without_valid_objects_leave_a_resolution():
    source = batches()
    # The RPN's range at 800 is [0, 160], so the image with the small object alone stays there.
    epoch = Counter({(1400, 0): 1, (1400, 3): 1, (800, 0): 1, (800, 1): 1, (800, 3): 1, (480, 2): 1, (480, 3): 1})
    assert seen(source, 20, 27) == epoch
    assert seen(source, 27, 34) == epoch


def test_units_are_whole_images_and_with_ranges_chips_and_images_with_a_valid_object():
    data = tiny.FakeSet([SIZE] * len(BOXES), BOXES)
    assert count_units(pyramid_spec(), data) == ((1, 1, 1), (2 / 5, 3 / 5, 2 / 5))
    assert count_units(pyramid_spec("ms_train"), data) == ((1, 1, 1), ())
    assert count_units(pyramid_spec("single_scale_1400"), data) == ((1,), ())
    limited = tiny.changed(pyramid_spec("range_limited_1400"), experiment={"detector": "d_rfcn_rcn"})
    assert count_units(limited, data) == ((1,), (2 / 5,))
    far = tiny.FakeSet([SIZE], [[[0, 0, 20, 20], [600, 440, 620, 460]]])  # too far apart for one chip of 100
    assert count_units(pyramid_spec(), far).ranged[0] == 2


def test_before_the_ranges_apply_images_are_whole_and_every_object_is_valid_everywhere():
    source = batches()
    assert seen(source, 0, 15) == Counter({(res, row): 1 for res in (1400, 800, 480) for row in range(5)})
    for index in range(SWITCH):
        (image,), (target,), info = source[index]
        assert info["snip"] is False
        assert tuple(image.shape[1:]) == {1400: (140, 187), 800: (80, 107), 480: (48, 64)}[info["resolution"]]
        assert target["head_range"].tolist() == [0.0, float("inf")]
        assert target["valid_head"].all()
        assert target["valid_proposal"].all()


@pytest.mark.parametrize(
    ("resolution", "head", "proposal", "bounds"),
    [
        (1400, [True, False, False], [True, False, False], [0, 80 * 140 / 480]),
        (800, [False, True, False], [True, True, False], [40 * 80 / 480, 160 * 80 / 480]),
        (480, [False, False, True], [False, False, True], [120 * 48 / 480, float("inf")]),
    ],
)
def test_valid_flags_are_the_papers_ranges(resolution, head, proposal, bounds):
    source = batches()
    level = next(level for level in source.spec.experiment.pyramid if level.short_side == resolution)
    image, target = source.sample(Unit(3, None), level, True, flipped=False)
    assert tuple(image.shape[1:]) == {1400: (140, 187), 800: (80, 107), 480: (48, 64)}[resolution]
    assert target["valid_head"].tolist() == head
    assert target["valid_proposal"].tolist() == proposal
    assert target["head_range"].tolist() == pytest.approx(bounds)
    ratio = torch.tensor([image.shape[2] / 640, image.shape[1] / 480]).repeat(2)
    torch.testing.assert_close(target["boxes"], torch.tensor(BOXES[3]) * ratio)
    _, flipped = source.sample(Unit(3, None), level, True, flipped=True)
    assert flipped["valid_head"].tolist() == head
    mirrored = [[640 - x2, y1, 640 - x1, y2] for x1, y1, x2, y2 in BOXES[3]]
    torch.testing.assert_close(flipped["boxes"], torch.tensor(mirrored) * ratio)


def test_ranges_scale_with_the_presets_factor():
    spec = tiny.changed(pyramid_spec(), preset={"original_factor": 0.5})
    data = tiny.FakeSet([SIZE], [[[0, 0, 40, 40], [0, 0, 41, 41]]])
    source = PyramidBatches(spec, data, SWITCH)
    level = spec.experiment.pyramid[0]
    assert valid_flags(spec, data, 0, level, True)[0].tolist() == [True, False]  # 80 original pixels are 40 here
    _, target = source.sample(Unit(0, None), level, True, flipped=False)
    assert target["head_range"].tolist() == pytest.approx([0, 40 * 140 / 480])


def test_chips_hold_their_objects_whole_and_ignore_cut_ones():
    # A box of 20 file pixels across the chip's right border, at 140/480 and 187/640 of its size.
    data = tiny.FakeSet([SIZE], [[[330, 10, 350, 30], [10, 10, 30, 30], [400, 10, 420, 30]]])
    source = PyramidBatches(pyramid_spec(), data, SWITCH)
    level = source.spec.experiment.pyramid[0]
    image, target = source.sample(Unit(0, (0, 0, 100, 100)), level, True, flipped=False)
    assert image.shape == (3, 100, 100)
    assert len(target["boxes"]) == 2  # the third does not show
    assert target["boxes"][0].tolist() == pytest.approx([330 * 187 / 640, 10 * 140 / 480, 100, 30 * 140 / 480])
    assert target["valid_head"].tolist() == [False, True]
    assert target["valid_proposal"].tolist() == [False, True]
    assert target["labels"].tolist() == [1, 1]


def test_every_chip_shows_a_valid_object():
    source = batches()
    chips = [source[index] for index in range(20, 34) if source[index][2]["resolution"] == 1400]
    assert len(chips) == 4
    for (image,), (target,), info in chips:
        assert image.shape == (3, 100, 100)
        assert int(target["valid_head"].sum()) == 1
        assert info["valid"] == pytest.approx(1 / len(target["boxes"]))


@pytest.mark.parametrize("batch", [2, 3])
def test_a_batch_has_one_resolution(batch):
    source = batches(batch=batch)
    resolutions = set()
    for index in range(40):
        images, targets, info = source[index]
        assert len(images) == len(targets) == batch
        finest = 140 if index < SWITCH else 100  # whole images, then chips
        assert {min(image.shape[1:]) for image in images} <= {{1400: finest, 800: 80, 480: 48}[info["resolution"]]}
        resolutions.add(info["resolution"])
    assert resolutions == {1400, 800, 480}


def grid(source: PyramidBatches, stride: int) -> PyramidBatches:
    """Return batches whose finest level has SNIPER's grid chips, `stride` pixels apart on the papers' scale."""
    finest, *others = source.spec.experiment.pyramid
    pyramid = (replace(finest, chips="grid", chip_stride=(stride, stride)), *others)
    return PyramidBatches(tiny.changed(source.spec, experiment={"pyramid": pyramid}), source.data, SWITCH)


def test_grid_chips_train_each_object_in_one_chip():
    # At 1400 the image is 140x187 and chips of 100 start at 0, 30, 60 and 87 (40 downwards): the objects need two.
    boxes = [[10, 10, 30, 30], [590, 440, 610, 460], [300, 200, 320, 220], [340, 200, 360, 220], [0, 0, 400, 400]]
    source = grid(PyramidBatches(pyramid_spec(), tiny.FakeSet([SIZE], [boxes]), SWITCH), stride=300)
    level = source.spec.experiment.pyramid[0]
    units = [unit for unit in source._phase(True)[0][0] if unit.window]
    assert len(units) == 2
    assert {unit.window for unit in units} <= {(x, y, x + 100, y + 100) for x in (0, 30, 60, 87) for y in (0, 30, 40)}
    trained = torch.zeros(5, dtype=torch.int64)
    for unit in units:
        _, target = source.sample(unit, level, True, flipped=False)
        corners = (target["boxes"][target["valid_head"]] + torch.tensor(unit.window[:2]).repeat(2)).round().tolist()
        scaled = (torch.tensor(boxes) * torch.tensor([187 / 640, 140 / 480]).repeat(2)).round().tolist()
        trained += torch.tensor([box in corners for box in scaled]).long()
    assert trained.tolist() == [1, 1, 1, 1, 0]  # the last is out of range


def test_an_object_in_the_overlap_of_two_grid_chips_is_ignored_in_the_second():
    data = tiny.FakeSet([SIZE], [[[10, 10, 30, 30], [250, 10, 270, 30]]])
    source = PyramidBatches(pyramid_spec(), data, SWITCH)
    level = source.spec.experiment.pyramid[0]
    _, owner = source.sample(Unit(0, (0, 0, 100, 100), (0, 1)), level, True, flipped=False)
    _, other = source.sample(Unit(0, (60, 0, 160, 100), ()), level, True, flipped=False)
    assert owner["valid_head"].tolist() == owner["valid_proposal"].tolist() == [True, True]
    assert other["valid_head"].tolist() == other["valid_proposal"].tolist() == [False]
    assert len(other["boxes"]) == 1  # it stays as an object to ignore


def test_strides_are_drawn_for_every_image_and_scale_with_the_preset():
    data = tiny.FakeSet([SIZE] * 12, [[[300, 200, 320, 220]]] * 12)
    finest, *others = pyramid_spec().experiment.pyramid
    level = replace(finest, chips="grid", chip_stride=(200, 600))
    spec = tiny.changed(pyramid_spec(), experiment={"pyramid": (level, *others)})
    units = [units_of(spec, data, row, 0, torch.tensor([True]))[0] for row in range(12)]
    lefts = {unit.window[0] for unit in units} - {0, 87}  # 87 is the border
    assert lefts <= {column * stride for column in (1, 2, 3, 4) for stride in range(20, 61)}
    assert min(lefts) >= 20
    assert len(lefts) > 2
    assert units == [units_of(spec, data, row, 0, torch.tensor([True]))[0] for row in range(12)]


def test_ranges_and_strides_that_end_before_they_start_are_refused():
    with pytest.raises(ValueError, match="head_range must end at or above its start, got 80 to 40"):
        PyramidLevel(1400, 2000, head_range=(80, 40))
    with pytest.raises(ValueError, match="chip_stride must be at least 1 pixel, got 0"):
        PyramidLevel(1400, 2000, chip_stride=(0, 4))


def test_share_of_valid_objects():
    source = batches()
    shares = {}
    for index in range(20, 27):
        images, _, info = source[index]
        assert info["snip"] is True
        shares[info["resolution"], tiny.image_row(images[0])] = info["valid"]
    assert shares[800, 0] == 0
    assert shares[800, 1] == 1
    assert shares[800, 3] == shares[480, 3] == pytest.approx(1 / 3)
    plain = batches(None, name="ms_train")
    empty = [plain[index] for index in range(30) if len(plain[index][1][0]["boxes"]) == 0]
    assert empty
    assert all(info["valid"] is None for _, _, info in empty)


def test_batches_depend_on_their_number_alone():
    first, second = batches(flip=0.5, batch=2), batches(flip=0.5, batch=2)
    expected = [first[index] for index in range(30)]
    for index in reversed(range(30)):
        images, targets, info = second[index]
        assert info == expected[index][2]
        assert all(torch.equal(a, b) for a, b in zip(images, expected[index][0], strict=True))
        for a, b in zip(targets, expected[index][1], strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_without_ranges_resolutions_are_shuffled_and_differ_between_epochs():
    source = batches(None, name="ms_train")
    assert seen(source, 0, 15) == Counter({(res, row): 1 for res in (1400, 800, 480) for row in range(5)})
    orders = [[source[15 * epoch + place][2]["resolution"] for place in range(15)] for epoch in range(2)]
    assert orders[0] != orders[1]
    assert all(Counter(order) == {1400: 5, 800: 5, 480: 5} for order in orders)
    assert all(order != sorted(order) for order in orders)


def test_data_without_valid_objects_is_refused():
    spec = pyramid_spec()
    with pytest.raises(InputError, match="none of the 1 training images has a valid object at any resolution"):
        PyramidBatches(spec, tiny.FakeSet([SIZE], [[]]), SWITCH)[SWITCH]


# In the detector


def wired_losses(valid: list[bool], head_range: tuple[float, float]) -> tuple[dict, list[float]]:
    """Return a tiny SNIP detector's losses on two objects (areas 600 and 2080), and the areas of its positives."""
    torch.manual_seed(0)
    model = build_detector(pyramid_spec(), 3).train()
    wire_snip(model, 0.3)
    flags = torch.tensor(valid)
    target = {
        "boxes": torch.tensor([[0.0, 0, 30, 20], [40, 8, 80, 60]]),
        "labels": torch.tensor([1, 2]),
        "valid_head": flags,
        "valid_proposal": flags,
        "head_range": torch.tensor(head_range),
    }
    losses = model([torch.rand(3, 64, 96)], [target])
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    return {name: value.item() for name, value in losses.items()}, model.roi_heads.positives.areas.tolist()


def test_losses_see_valid_objects_only():
    open_range = (0.0, float("inf"))
    assert set(wired_losses([True, True], open_range)[1]) == {600.0, 2080.0}
    assert set(wired_losses([True, False], open_range)[1]) == {600.0}
    losses, areas = wired_losses([False, False], open_range)
    assert areas == []
    assert (losses["loss_box_reg"], losses["loss_rpn_box_reg"]) == (0, 0)
    assert losses["loss_classifier"] > 0  # background RoIs of valid size train on


def test_rois_out_of_range_take_no_part():
    losses, areas = wired_losses([True, True], (1000.0, 2000.0))
    assert areas == []
    assert (losses["loss_box_reg"], losses["loss_classifier"]) == (0, 0)
    assert losses["loss_objectness"] > 0
