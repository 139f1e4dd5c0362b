"""Resolving experiments and presets: derived values by hand, and every misspelling named in one sentence."""

import re
import typing
from pathlib import Path

import msgspec
import pytest
import tiny

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import read_yaml
from pipeline.options import Experiment, Method, Recipe
from pipeline.preset import Preset
from pipeline.spec import Rate, epoch_steps

OWN = """name: own
title: own
data:
  kind: coco
  train: {images: a, annotations: a.json}
  val: {images: b, annotations: b.json}
factor: 1.0
init_source: torchvision
"""


@pytest.fixture
def project(project: Path) -> Path:
    """Stand in the copied project, with a preset of one's own."""
    (project / "workflow/presets/own.yaml").write_text(OWN)
    return project


def change(path: Path, old: str, new: str) -> None:
    """Replace a text that the file holds exactly once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def refusal(experiment: str, preset: str) -> str:
    """Return the sentence that a resolution ends in, after checking that it is one line."""
    with pytest.raises(InputError) as error:
        config.resolve(experiment, preset)
    assert "\n" not in str(error.value)
    return str(error.value)


# Values


def test_every_experiment_resolves_under_every_preset():
    presets = [path.stem for path in (paths.ROOT / "workflow/presets").glob("*.yaml")]
    assert {"mini", "full"} <= set(presets)
    for name in config.experiments():
        for preset in presets:
            spec = config.resolve(name, preset)
            assert (spec.name, spec.paper, spec.preset.name) == (name, name.split("_")[0], preset)


def test_full_preset_has_the_printed_schedules():
    dst = config.resolve("dst_frcnn_r50_fpn_1x", "full")
    assert (dst.steps, dst.batch, dst.lr, dst.norm, dst.frozen_stages) == (90000, 16, 0.02, "frozen", 1)
    msfm = config.resolve("msfm_frcnn_r50_fpn_1x", "full")
    # 12 epochs of the 117,266 images of train2017 that have objects: 12 * 117266 / 16 = 87949.5, to even.
    assert epoch_steps(msfm, 117266) == 87950
    with pytest.raises(InputError, match="counts epochs, and preset full names no steps"):
        _ = msfm.steps


def test_preset_steps_scale_with_the_schedule_length():
    spec = tiny.spec("msfm_frcnn_r50_fpn_1x", steps=100)
    double = tiny.changed(spec, experiment={"length": 2.0})
    assert (spec.steps, double.steps) == (100, 200)
    assert epoch_steps(double, 12345) == 200  # a preset's steps do not depend on the data


@pytest.mark.parametrize(
    ("experiment", "steps"),
    [
        ("msfm_frcnn_r50_fpn_1x", 1200),  # 12 epochs
        ("snip_drfcn_r50_7ep_snip", 700),  # 7
        ("pod_frcnn_r50_fpn_1x", 1300),  # 13
        ("dst_frcnn_r50_fpn_1x", 1217),  # 90,000 iterations of 16 of 118,287 images are 12.17
    ],
)
def test_preset_steps_stand_for_twelve_epochs(experiment, steps):
    found = config.resolve(experiment, "mini")
    assert msgspec.structs.replace(found, preset=tiny.preset(steps=1200)).steps == steps


def test_how_a_rate_came_about():
    spec = tiny.spec("dst_frcnn_r50_fpn_1x", lr=None, batch=4)
    linear = spec.rate
    assert linear == Rate(0.005, 0.02, 4, 16, "linear")
    assert spec.lr == 0.02 * 4 / 16
    assert tiny.spec("dst_frcnn_r50_fpn_1x", lr=None, batch=16).rate == Rate(0.02, 0.02, 16, 16, "recipe")
    assert tiny.spec("dst_frcnn_r50_fpn_1x", lr=0.5, batch=4).rate == Rate(0.5, 0.02, 4, 16, "preset")
    assert linear.facts() == {"lr": 0.005, "recipe_lr": 0.02, "batch": 4, "recipe_batch": 16, "lr_rule": "linear"}


def test_accumulated_batches_count_for_rate_and_length():
    spec = tiny.spec("dst_frcnn_r50_fpn_1x", lr=None, batch=4, accumulate=2, steps=None)
    assert (spec.batch, spec.effective_batch, spec.lr) == (4, 8, 0.01)
    assert epoch_steps(spec, 80) == 12 * 80 / 8
    full = config.resolve("dst_frcnn_r50_fpn_1x", "full")
    training = msgspec.structs.replace(full.preset.training, batch=4, accumulate=2)
    half = tiny.changed(full, preset={"training": training})
    assert (half.steps, half.lr) == (180_000, 0.01)  # twice the iterations of half the images at half the rate
    training = msgspec.structs.replace(training, accumulate=4)
    assert tiny.changed(full, preset={"training": training}).rate == full.rate


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("accumulate: 0", "Expected `int` >= 1 - at `$.training.accumulate`, found 0; correct this value."),
        ("ema: 1.0", "Expected `float` < 1.0 - at `$.training.ema`, found 1.0"),
        ("batch: 0", ">= 1 - at `$.training.batch`, found 0"),
        ("steps: -1", ">= 1 - at `$.training.steps`, found -1"),
        ("log_rows: 0", ">= 1 - at `$.training.log_rows`, found 0"),
        ("lr: .inf", "<= 100.0 - at `$.training.lr`, found inf"),
        ("lr: .nan", "at `$.training.lr`, found nan"),
        ("milestones: [0.5, -1]", "> 0.0 - at `$.training.milestones[1]`, found -1"),
    ],
)
def test_engine_options_out_of_range(project, line, sentence):
    text = f"name: x\ntitle: x\ndata: {{kind: scaleworld}}\nfactor: 1.0\ntraining: {{{line}}}\n"
    (project / "workflow/presets/x.yaml").write_text(text)
    with pytest.raises(InputError, match=re.escape(sentence)):
        config.load_preset("x")


def test_zero_frozen_stages_of_a_preset_is_not_the_recipes_value():
    assert tiny.spec("dst_frcnn_r50_fpn_1x", frozen_stages=0).frozen_stages == 0
    assert tiny.spec("dst_frcnn_r50_fpn_1x", frozen_stages=None).frozen_stages == 1


def test_a_block_has_one_seed_for_all_experiments_and_each_block_its_own():
    specs = [config.resolve(name, "mini") for name in config.experiments()]
    assert len({spec.seed for spec in specs}) == 1
    spec = specs[0]
    assert len({one.seed for one in spec.in_blocks()}) == spec.blocks
    other = tiny.changed(spec, preset={"seed": 1})
    assert other.seed != spec.seed
    assert spec.seed == config.resolve(spec.name, "mini").seed


def test_the_headline_has_more_blocks_and_a_neck_its_own_number(project):
    change(
        Path("workflow/presets/own.yaml"),
        "factor: 1.0",
        "factor: 1.0\nblocks: 2\nheadline_blocks: 5\nneck_blocks: {c4: 3}",
    )
    preset = config.load_preset("own")
    blocks = {
        "dst_frcnn_r50_fpn_1x": 5,
        "pod_frcnn_r50_c4_1x": 3,  # of the headline
        "pod_frcnn_r50_c4_1x_gsl": 3,  # what one of it is trained from
        "pod_frcnn_r101_c4_1x": 2,  # of other tables
        "dst_frcnn_r101_fpn_1x": 2,
        "resnet50": 5,
    }
    assert {name: config.specification(name, preset).blocks for name in blocks} == blocks


def test_lengths_in_original_pixels_have_their_own_factor():
    subset = msgspec.structs.replace(tiny.PRESET, factor=0.3, original_factor=0.6)
    assert (subset.pixel_factor, tiny.PRESET.pixel_factor) == (0.6, 0.1)


def test_method_of_an_experiment_file():
    spec = config.resolve("snip_drfcn_r50_7ep_snip", "full")
    finest, middle, coarsest = spec.experiment.pyramid
    assert (finest.short_side, finest.chip_size, finest.head_range) == (1400, 1000, (0, 80))
    assert (middle.head_range, middle.proposal_range) == ((40, 160), (0, 160))
    assert coarsest.head_range == (120, None)
    assert spec.experiment.method.snip.starts_after == pytest.approx(3 / 7, abs=1e-4)
    assert spec.experiment.tests["ms_test"].valid_ranges == ((0, 90), (32, 180), (75, None))
    assert config.resolve("pod_frcnn_r50_fpn_1x", "full").experiment.method == Method()


# Mistakes


@pytest.mark.parametrize("name", ["", "..", "dst", "dst_frcnn_r50_fpn_1x.yaml", "../mini", "DST_frcnn_r50_fpn_1x"])
def test_odd_experiment_names_are_unknown(project, name):
    with pytest.raises(InputError, match="Unknown experiment"):
        config.resolve(name, "mini")


EXPERIMENT = "workflow/papers/dst/experiments/dst_frcnn_r50_fpn_1x_dst.yaml"
LEVELS = "workflow/papers/snip/experiments/snip_drfcn_r50_7ep_snip.yaml"


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        (EXPERIMENT, "backbone:", "backbonne:", ["unknown key 'backbonne'; did you mean 'backbone'?"]),
        (EXPERIMENT, "threshold:", "treshold:", ["collage: unknown key 'treshold'; did you mean 'threshold'?"]),
        (EXPERIMENT, "detector: faster_rcnn", "detector: fast_rcnn", ["fast_rcnn", "$.detector"]),
        (EXPERIMENT, "components: 4", "components: four", ["$.method.collage.components", "int"]),
        (EXPERIMENT, "  collage: {", "  collage: [{", ["is not valid YAML"]),
        (EXPERIMENT, "recipe: dst", "recipe: dts", ["names the unknown recipe 'dts'; did you mean 'dst'?"]),
        (LEVELS, "{short_side: 480,", "{short_sid: 480,",
         ["pyramid: 2: unknown key 'short_sid'; did you mean 'short_side'?"]),
        (LEVELS, "valid_ranges: [[0, 90]", "valid_range: [[0, 90]",
         ["tests: ms_test: unknown key 'valid_range'; did you mean 'valid_ranges'?"]),
        ("workflow/schedules/dst.yaml", "milestones:", "milstones:", ["'milstones'; did you mean 'milestones'?"]),
        ("workflow/schedules/dst.yaml", "batch: 16", "batch: ", ["$.batch", "null"]),
        ("workflow/presets/own.yaml", "factor: 1.0", "faktor: 1.0", ["unknown key 'faktor'; did you mean 'factor'?"]),
        ("workflow/presets/own.yaml", "factor: 1.0", "factor: 0", ["> 0.0 - at `$.factor`, found 0"]),
        ("workflow/presets/own.yaml", "factor: 1.0", "factor: .nan", ["at `$.factor`, found nan"]),
        ("workflow/presets/own.yaml", "name: own", "name: owm", ["calls itself 'owm'"]),
        ("workflow/presets/own.yaml", "annotations: b.json", "annotation: b.json",
         [": data: val: unknown key 'annotation'; did you mean 'annotations'?"]),
        ("workflow/presets/own.yaml", "init_source: torchvision", "model: 3", ["model must be a mapping", "found 3"]),
        ("workflow/presets/own.yaml", "init_source: torchvision", "1: 2", ["unknown key 1"]),
    ],
)  # fmt: skip
def test_mistake_names_file_key_and_cure(project, path, old, new, words):
    change(project / path, old, new)
    text = refusal(Path(path if path == LEVELS else EXPERIMENT).stem, "own")
    for part in (path, *words):
        assert part in text


def unbounded(kind, place):
    """Give the places of numbers in a type that no upper bound keeps finite."""
    if kind in (int, float):
        yield place
    elif typing.get_origin(kind) is typing.Annotated:
        inside, *metas = typing.get_args(kind)
        if inside not in (int, float):
            yield from unbounded(inside, place)
        elif not any(meta.le is not None or meta.lt is not None for meta in metas):
            yield place
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            yield from unbounded(hint, f"{kind.__name__}.{name}")
    else:
        for part in typing.get_args(kind):
            yield from unbounded(part, place)


@pytest.mark.parametrize("kind", [Experiment, Recipe, Preset])
def test_every_number_has_bounds(kind):
    checked = {"Method.scale_stages", "DeformableOptions.stages", "FusionOptions.positions"}  # when they are made
    checked.add("Notes.expected")  # decides nothing
    assert set(unbounded(kind, kind.__name__)) <= checked


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        *((Recipe, "labelled.std", value) for value in ([0, 0, 0], [float("nan")] * 3)),
        *((Recipe, "rpn_positive_iou", value) for value in (0.0, 1e12)),  # below the negatives' 0.3; no share
        *((Recipe, key, -1) for key in ("short_side", "epochs", "iterations", "warmup_iterations", "weight_decay")),
        *((Recipe, key, 0) for key in ("gradient_clip", "batch", "lr", "gamma")),
        (Recipe, "frozen_stages", 5),
        *((Experiment, key, value) for key in ("length", "seeds") for value in (0, -1, float("inf"))),
        *((Experiment, f"tests.single.{key}", value) for key in ("short_sides", "long_sides") for value in ([0], [])),
        (Experiment, "tests.single.valid_ranges", []),
        (Experiment, "method.short_sides", []),
        (Experiment, "method.scale_stages", []),
        (Experiment, "method.collage.min_area", -1.0),
    ],
)
def test_numbers_out_of_range_are_refused(kind, key, value):
    path = "workflow/schedules/psconv.yaml" if kind is Recipe else paths.experiment_file("dst_frcnn_r50_fpn_1x_dst")
    raw = read_yaml(paths.ROOT / path)
    *folders, last = key.split(".")
    place = raw
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    with pytest.raises(InputError, match=f"^here: .*{last.split('_')[-1]}.*; correct this value\\.$"):
        config.converted(raw, kind, "here")


@pytest.mark.parametrize("file", ["workflow/schedules/dst.yaml", "workflow/presets/own.yaml"])
def test_unknown_optimisers_are_named_with_the_nearest(project, file):
    text = (project / file).read_text()
    (project / file).write_text(
        text + ("optimizer: adamv\n" if "schedules" in file else "training: {optimizer: adamv}\n")
    )
    with pytest.raises(InputError) as error:
        config.resolve("dst_frcnn_r50_fpn_1x", "own")
    assert str(error.value) == (
        "dst_frcnn_r50_fpn_1x under preset own: Unknown optimizer 'adamv'; did you mean 'adamw'?; "
        "pipeline/training/optimizers has a file of each: ['adamw', 'sgd']."
    )


@pytest.mark.parametrize("text", ["", "[]", "just text", "null"])
def test_files_that_are_no_mapping(project, text):
    (project / "workflow/presets/own.yaml").write_text(text)
    with pytest.raises(InputError, match=r"workflow/presets/own.yaml"):
        config.load_preset("own")


def test_active_preset(project):
    params = project / "params.yaml"
    for text in ("preset: mini\n", "preset: mini\nmachine: {workers: 2}\n"):
        params.write_text(text)
        assert config.active_preset() == "mini"
    for text, sentence in (
        ("preset: 3\n", "must hold `preset: NAME`"),
        ("[]", "must hold `preset: NAME`"),
        ("preset: mini\npresets: full\n", r"unknown key 'presets'; did you mean 'preset'\?"),
    ):
        params.write_text(text)
        with pytest.raises(InputError, match=rf"\A.*{sentence}.*\Z"):
            config.active_preset()


def test_experiments_of_one_paper():
    names = config.experiments("msfm")
    assert len(names) == 49
    assert all(name.startswith("msfm_") for name in names)
    assert config.experiments() == sorted(config.experiments())


def test_a_preset_has_other_steps_for_some_recipes():
    named = tiny.preset(steps=120, recipe_steps={"snip": 60})
    steps = {
        name: config.specification(name, named).steps for name in ("snip_drfcn_r50_7ep_snip", "msfm_frcnn_r50_fpn_1x")
    }
    assert steps == {"snip_drfcn_r50_7ep_snip": 35, "msfm_frcnn_r50_fpn_1x": 120}
    tour = config.resolve("snip_drfcn_r50_7ep_snip", "tour")
    assert tour.steps == round(config.load_preset("tour").training.recipe_steps["snip"] * 7 / 12)
