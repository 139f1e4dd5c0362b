"""The plan on graphs that can be worked out by hand, and on the real one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import msgspec
import pytest

from pipeline import config
from pipeline.analysis import costs, plan
from pipeline.analysis.costs import Network, Rates
from pipeline.analysis.gpus import GPUS
from pipeline.analysis.plan import Job
from pipeline.analysis.pyramid_inputs import expected_units
from pipeline.analysis.wall_time import best_wall_time, wall_time
from pipeline.benchmarks.architectures import architecture
from pipeline.errors import InputError
from pipeline.graph import declared
from pipeline.graph.declared import Stage
from pipeline.models.measure import measure
from pipeline.reporting.plan_page import Setting, plan_csv, plan_page, spell
from pipeline.spec import Spec


@cache
def full(name: str) -> Spec:
    return config.resolve(name, "full")


def job(address: str, seconds: float, *needs: str, kind: str = "train") -> Job:
    return Job(address, kind, address, seconds, False, 1e9, needs=needs)


def stage(address: str, command: str, deps=(), outs=()) -> Stage:
    return Stage(address, f"python -m pipeline.stages.{command} --preset mini", tuple(deps), tuple(outs))


def planned(command: str, network: Network, rates: Rates) -> Job | None:
    return plan.job_of(stage("address", command), full, lambda _: network, rates)


# One stage


def test_areas_are_those_of_a_photograph():
    preset = config.load_preset("full")
    assert costs.area_of(preset, 600, 1000) == 600 * 800
    assert costs.area_of(preset, 800, 1333) == pytest.approx(800 * 3200 / 3)
    assert costs.area_of(preset, 900, 900) == pytest.approx(900 * 675)  # the long side decides
    half = msgspec.structs.replace(preset, factor=0.5)
    assert costs.area_of(half, 600, 1000) == 300 * 400


def test_a_training_counts_images_passes_and_operations():
    """DST: 90,000 steps of 16 images; 2 operations a multiply-add, three passes; 512 regions."""
    spec = full("dst_frcnn_r50_fpn_1x")
    network = Network(a_pixel=1e5, a_region=1e7, parameters=10**6)
    found = planned("train dst_frcnn_r50_fpn_1x", network, Rates(tflops=10.0))
    macs = 1e5 * 800 * (800 * 4 / 3) + 1e7 * 512
    assert found.seconds == pytest.approx(90_000 * 16 * macs * 2 * 3 / 10e12)
    assert (found.bytes, found.scratch, found.measured, found.memory) == (4e6, 16e6, False, None)
    assert costs.training_images(full("dst_frcnn_r50_fpn_2x")) == 2 * 90_000 * 16
    assert costs.training_area(spec) == pytest.approx(800 * 800 * 4 / 3)


def test_drawn_sides_and_pyramid_levels_are_averaged():
    name = "dst_frcnn_r50_fpn_1x_ms_train_600_1000"
    sides = [min(side, 1333 * 3 / 4) for side in full(name).experiment.method.short_sides]  # 1000 would give 1333.3
    mean = sum(side * side for side in sides) / len(sides) * 4 / 3
    assert costs.training_area(full(name)) == pytest.approx(mean)
    whole = [side * side * 4 / 3 for side in (1400, 800, 480)]
    assert costs.training_area(full("snip_drfcn_r50_7ep_ms_train")) == pytest.approx(sum(whole) / 3)
    # 3 of 7 epochs see all images at every resolution, 4 see chips of 1,000 pixels and images with an object in range
    units = expected_units(full("snip_drfcn_r50_7ep_snip")).ranged
    chips = sum(count * area for count, area in zip(units, (1000**2, *whole[1:]), strict=True))
    mean = (3 * sum(whole) + 4 * chips) / (3 * 3 + 4 * sum(units))
    assert costs.training_area(full("snip_drfcn_r50_7ep_snip")) == pytest.approx(mean, rel=1e-5)


def test_a_prediction_counts_every_look():
    network = Network(1e5, 1e7, 10**6)
    rates = Rates(tflops=10.0)
    one = planned("predict snip_drfcn_r50_7ep_snip__ms_test", network, rates)
    areas = [side * side * 4 / 3 for side in (1400, 800, 480)]
    assert one.seconds == pytest.approx(5000 * sum(1e5 * area + 1e7 * 300 for area in areas) * 2 / 10e12)
    assert one.bytes == 5000 * 100 * 110
    spec = full("dst_frcnn_r50_fpn_1x")
    flipped = msgspec.structs.replace(spec.experiment.tests["single"], flip=True, members=("other",))
    experiment = msgspec.structs.replace(spec.experiment, tests={"single": flipped})
    assert len(costs.test_areas(msgspec.structs.replace(spec, experiment=experiment), "single")) == 4


def test_proposals_are_made_on_both_splits():
    name = "snip_rpn_r101_6ep_single_scale_800"
    found = planned(f"propose {name}", Network(1.0, 0.0, 1), Rates(1.0))
    areas = costs.test_areas(full(name), "single")
    assert found.seconds == pytest.approx(123_287 * sum(areas) * 2 / 1e12)
    assert found.bytes == 123_287 * 300 * len(areas) * 20


def test_classifiers_count_epochs_and_seeds():
    """PSConv on CIFAR-100: 300 epochs of 50,000 images at 32 pixels; ImageNet has 1,281,167 images."""
    name = next(n for n in config.experiments("psconv") if full(n).experiment.dataset == "cifar100")
    steps = round(300 * 50_000 / 128)
    assert costs.training_images(full(name)) == steps * 128 * full(name).experiment.seeds
    assert costs.training_area(full(name)) == 32 * 32
    name = next(n for n in config.experiments("psconv") if full(n).experiment.dataset == "imagenet")
    spec = full(name)
    wanted = 1_281_167 * spec.recipe.epochs * spec.experiment.length
    assert costs.training_images(spec) == pytest.approx(wanted, rel=1e-4)


def test_published_inits_cost_nothing_and_other_stages_are_no_jobs():
    network, rates = Network(1.0, 0.0, 7), Rates(1.0)
    init = planned("pretrain resnet50", network, rates)
    assert (init.seconds, init.bytes) == (0.0, 28.0)
    for command in ("evaluate dst_frcnn_r50_fpn_1x", "table dst_t2", "measure dst_frcnn_r50_fpn_1x", "verify"):
        assert planned(command, network, rates) is None


def measured(name: str, seconds: float, peak: float = 1000.0) -> dict:
    step = {"seconds": seconds, "peak_mib": peak}
    return architecture(full(name)) | {"found": {"training": step, "inference": {"seconds": seconds / 4}}}


def test_measured_steps_take_the_place_of_the_assumption():
    row = measured("dst_frcnn_r50_fpn_1x", 0.1)
    benchmark = {"machine": {"gpu": "G"}, "rows": [row, {"failure": "memory"}]}
    rates = costs.rates_from(9.5, benchmark)
    rates.peaks = costs.peaks_from(benchmark, None)
    network = Network(1e5, 1e7, 10**6)
    found = planned("train dst_frcnn_r50_fpn_1x", network, rates)
    share = 800 * 800 * 4 / 3 / (800 * 1333)  # a measured image is as large as the recipe allows
    assert found.seconds == pytest.approx(90_000 * 16 * 0.1 * share)
    assert found.measured
    assert rates.gpu == "G"
    fixed = 4 * 10**6 * 3
    assert found.memory == pytest.approx((fixed + (1000 * 2**20 - fixed) * 16) / 2**30)
    macs = network.macs(800 * 1333, 512)
    assert costs.median_tflops([full("dst_frcnn_r50_fpn_1x")], lambda _: network, rates) == pytest.approx(
        macs * 6 / 0.1 / 1e12
    )
    other = planned("train dst_frcnn_r101_fpn_1x", network, rates)
    assert not other.measured
    assert other.memory == found.memory  # the largest of its family that was measured
    none = costs.rates_from(9.5, None)
    assert (none.measured, none.gpu) == ({}, "")
    assert costs.median_tflops([full("dst_frcnn_r50_fpn_1x")], lambda _: network, none) is None


def test_memory_comes_from_the_gpu_or_else_from_a_cpu():
    on_gpu = {"rows": [measured("dst_frcnn_r50_fpn_1x", 0.1, peak=800.0)]}
    on_cpu = {"rows": [measured("dst_frcnn_r50_fpn_1x", 9.0, 900.0), measured("dst_frcnn_r101_fpn_1x", 9.0, 1500.0)]}
    found = costs.peaks_from(on_gpu, on_cpu)
    assert found[costs.key_of(full("dst_frcnn_r50_fpn_1x"))] == 800 * 2**20
    assert found[costs.key_of(full("dst_frcnn_r101_fpn_1x"))] == 1500 * 2**20
    assert found["faster_rcnn/fpn"] == 1500 * 2**20
    assert costs.peaks_from(None, None) == {}
    spec, rates = full("dst_frcnn_r50_fpn_1x_dst"), Rates(1.0, peaks=found)
    fixed = 4 * 10**6 * 3  # weights, gradients and momentum
    assert plan.memory_of(spec, Network(1, 0, 10**6), rates) == pytest.approx(
        (fixed + (800 * 2**20 - fixed) * 16) / 2**30
    )
    assert plan.memory_of(full("pod_retinanet_r50_fpn_1x"), Network(1, 0, 1), rates) is None


# The counts


def test_a_network_is_taken_apart_into_pixels_and_regions():
    """Two fully connected layers of 1,024 on 7x7x256 features, 81 classes and 4 x 80 boxes."""
    spec = config.resolve("dst_frcnn_r50_fpn_1x", "full")
    network = costs.count_network(spec)
    whole = measure(spec)
    assert network.macs(800 * 1344, 1000) == pytest.approx(whole["macs"])
    assert network.parameters == whole["parameters_total"]
    head = 7 * 7 * 256 * 1024 + 1024 * 1024
    assert head < network.a_region < head + 1024 * 500
    assert costs.count_network(full("pod_retinanet_r50_fpn_1x")).a_region == 0  # one stage


def test_counts_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "count_network", lambda _: Network(1.5, 2.0, 3))
    spec = full("dst_frcnn_r50_fpn_1x")
    assert costs.Counted(tmp_path).of(spec) == Network(1.5, 2.0, 3)
    monkeypatch.setattr(costs, "count_network", lambda _: pytest.fail("counted again"))
    again = costs.Counted(tmp_path)
    assert again.of(spec) == again.of(full("dst_frcnn_r50_fpn_1x_dst")) == Network(1.5, 2.0, 3)


# The graph


def graph() -> dict[str, Stage]:
    """Two tables; `a` has x and y, `b` has y and z; y starts from an init that is trained."""
    return {
        s.address: s
        for s in [
            stage("pretrain@i", "pretrain psconv_cls_r50_120ep_cos", (), ["i"]),
            stage("train@x", "train dst_frcnn_r50_fpn_1x", (), ["x"]),
            stage("train@y", "train dst_frcnn_r50_fpn_2x", ["i"], ["y"]),
            stage("train@z", "train dst_frcnn_r101_fpn_1x", (), ["z"]),
            stage("decompose@y", "decompose g", ["y"], ["d"]),
            stage("predict@y", "predict dst_frcnn_r50_fpn_2x", ["d"], ["p"]),
            stage("p/tables/dvc.yaml:a", "table a", ["x", "p"], ["ta"]),
            stage("p/tables/dvc.yaml:b", "table b", ["p", "z"], ["tb"]),
            stage("p/tables/dvc.yaml:headline_b", "table b --headline", ["z"], ["h"]),
        ]
    }


def test_tables_are_found_by_name():
    assert plan.table_stages(graph()) == {"a": "p/tables/dvc.yaml:a", "b": "p/tables/dvc.yaml:b"}
    assert list(plan.table_stages(graph(), ["b"])) == ["b"]
    with pytest.raises(InputError, match="No table is called 'aa'; did you mean 'a'"):
        plan.table_stages(graph(), ["aa"])


def test_jobs_need_jobs_through_stages_that_are_none():
    known = graph()
    tables = plan.table_stages(known)
    jobs = plan.jobs_of(known, tables.values(), full, lambda _: Network(1, 0, 1), Rates(1.0))
    assert {address: found.needs for address, found in jobs.items()} == {
        "pretrain@i": (),
        "train@x": (),
        "train@y": ("pretrain@i",),
        "predict@y": ("train@y",),
        "train@z": (),
    }
    only = plan.jobs_of(known, ["p/tables/dvc.yaml:headline_b"], full, lambda _: Network(1, 0, 1), Rates(1.0))
    assert set(only) == {"train@z"}


def test_shared_stages_count_once_and_the_cheapest_table_comes_first():
    made = [
        job("pretrain@i", 3600.0, kind="pretrain"),
        job("train@x", 36_000.0),
        job("train@y", 7200.0, "pretrain@i"),
        job("predict@y", 0.0, "train@y", kind="predict"),
        job("train@z", 3600.0),
    ]
    jobs = {j.address: j for j in made}
    known = graph()
    tables = plan.table_stages(known)
    found = plan.table_costs(known, tables, jobs, gpus=1)
    assert [(c.name, c.alone, c.more, c.total) for c in found] == [("b", 4.0, 4.0, 4.0), ("a", 13.0, 10.0, 14.0)]
    assert [(c.trainings, c.new_trainings) for c in found] == [(3, 3), (3, 1)]
    assert [c.wall for c in found] == [4.0, 13.0]
    assert [c.disk for c in found] == [4.0, 4.0]
    shared = plan.shared_jobs(known, tables, jobs)
    assert [(j.address, names) for j, names in shared] == [
        ("train@y", ["a", "b"]),
        ("pretrain@i", ["a", "b"]),
        ("predict@y", ["a", "b"]),
    ]


def test_a_table_whose_stages_are_all_made_is_nearly_free():
    known = graph()
    known["p/tables/dvc.yaml:c"] = stage("p/tables/dvc.yaml:c", "table c", ["z"], ["tc"])
    jobs = {a: job(a, 3600.0) for a in ("train@x", "train@y", "train@z", "pretrain@i", "predict@y")}
    found = plan.table_costs(known, plan.table_stages(known), jobs, gpus=1)
    assert [(c.name, c.nearly_free) for c in found] == [("c", False), ("b", False), ("a", False)]
    assert plan.TableCost("t", 10.0, 0.1, 0.0, 1, 0, 0.0, 0.0, None).nearly_free
    assert not plan.TableCost("t", 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0, None).nearly_free


# Wall time


def test_jobs_that_wait_for_each_other_run_one_after_the_other():
    chain = [job("a", 10.0), job("b", 20.0, "a"), job("c", 30.0, "b")]
    assert wall_time(chain, gpus=8) == 60.0
    assert wall_time(chain, gpus=8, each=8) == pytest.approx(60 / 7.2)
    assert best_wall_time(chain, 8) == (pytest.approx(60 / 7.2), 8)


def test_the_longest_way_starts_first():
    """10 and then 90 seconds beside four of 25: 100 on two GPUs, if the long way starts at once."""
    jobs = [job("a", 10.0), job("long", 90.0, "a"), *(job(f"s{k}", 25.0) for k in range(4))]
    assert wall_time(jobs, gpus=2) == 100.0
    assert wall_time(jobs, gpus=1) == 200.0


def test_many_equal_jobs_are_best_on_one_gpu_each():
    jobs = [job(f"j{k}", 100.0) for k in range(8)]
    assert best_wall_time(jobs, 4) == (200.0, 1)
    assert wall_time(jobs, gpus=4, each=2) == pytest.approx(4 * 100 / 1.8)


def test_a_batch_that_one_gpu_does_not_hold_is_shared():
    jobs = [replace(job(f"j{k}", 100.0), memory=memory) for k, memory in enumerate((150.0, 10.0, None, 10.0))]
    assert best_wall_time(jobs, 4, memory=160.0) == (100.0, 1)
    assert best_wall_time(jobs, 4, memory=80.0) == (pytest.approx(200 / 1.8), 2)  # two at a time: 2 x 100 / 1.8
    assert best_wall_time(jobs, 2, memory=80.0)[1] == 2
    assert best_wall_time(jobs, 2, memory=1.0)[1] == 2  # more than all hold: the page says how much it is


def test_extremes():
    assert wall_time([], gpus=1) == 0.0
    assert wall_time([job("a", 5.0, "elsewhere")], gpus=1) == 5.0  # a job that is not asked for is done already
    for gpus, each in ((0, 1), (2, 3), (2, 0)):
        with pytest.raises(ValueError, match="a job takes 1 to"):
            wall_time([], gpus, each)


def test_the_same_jobs_on_every_kind_of_gpu():
    """An hour on a V100 of 16 GiB; three GPU-hours of loading by one processor take three processors beside it."""
    jobs = [replace(job("a", 3600.0), memory=20.0, loading=3 * 3600.0)]
    found = dict(zip(GPUS, plan.plans(jobs, 2, GPUS["v100"].tflops), strict=True))
    assert found["v100"].hours == pytest.approx(1.0)
    assert (found["v100"].each, found["v100"].wall) == (2, pytest.approx(1 / 1.8))  # 20 GiB do not fit into 16
    assert found["a100"].hours == pytest.approx(229 / 458)
    assert [p.processors for p in found.values()] == [pytest.approx(3 * gpu.ssd / 229) for gpu in GPUS.values()]
    assert GPUS["v100"].tflops == 9.5
    assert plan.processors([job("a", 10.0)]) is None  # loading was not measured
    assert plan.processors([]) is None


def test_what_loading_takes_a_processor():
    rates = Rates(
        10.0,
        loading=costs.loading_from(
            {
                "loaded_per_worker": {"regular": {"median": 50.0}, "collage": {"median": 10.0}},
                "parts_ms": {"decode": 5.0},
            }
        ),
    )
    network = Network(1e5, 1e7, 10**6)
    plain, collages = (planned(f"train dst_frcnn_r50_fpn_1x{n}", network, rates).loading for n in ("", "_dst"))
    assert plain == pytest.approx(90_000 * 16 / 50)
    assert collages == pytest.approx(90_000 * 16 * (1 / 50 + 1 / 10) / 2)
    three = planned("predict snip_drfcn_r50_7ep_snip__ms_test", network, rates)
    assert three.loading == pytest.approx(3 * 5000 / 50)
    classifier = next(n for n in config.experiments("psconv") if full(n).experiment.dataset == "imagenet")
    assert rates.loading_seconds(full(classifier), "training") == 0.005
    assert planned("train dst_frcnn_r50_fpn_1x", network, Rates(10.0)).loading == 0
    assert costs.loading_from(None) == {}


# The page


def test_the_page_says_what_its_numbers_rest_on():
    known = graph()
    tables = plan.table_stages(known)
    jobs = {
        a: job(a, s, kind=a.split("@")[0])
        for a, s in (("train@x", 3600.0), ("train@y", 7200.0), ("pretrain@i", 0.0), ("predict@y", 36.0))
    }
    found = plan.table_costs(known, tables, jobs, gpus=2)
    setting = Setting("full", "full (all)", 2, "A100", 80.0, 9.5, "", {"coco2017": 21.5}, 2.01, 1)
    page = plan_page(found, list(jobs.values()), plan.shared_jobs(known, tables, jobs), setting)
    assert "| GPU-hours | 3.0 |" in page
    assert "No step was measured on a GPU" in page
    assert "coco2017 21.5 GB" in page
    assert "| `train train@y` | 2.00 | 2 | a, b |" in page
    assert "this saves 2.0 GPU-hours" in page
    lines = plan_csv(found).splitlines()
    assert lines[0].startswith("table,gpu_hours_alone,gpu_hours_more,gpu_hours_total,trainings")
    assert lines[1] == "b,2.01,2.01,2.01,1,1,1.1167,3.0,,,0"  # both GPUs on each job: 2.01 / 1.8
    assert lines[2] == "a,3.01,1.0,3.01,2,1,1.6722,4.0,,,0"


@pytest.mark.parametrize(
    ("hours", "text"), [(0, "0 min"), (0.01, "1 min"), (0.5, "30 min"), (5.24, "5.2 h"), (100, "4.2 days")]
)
def test_times_in_words(hours, text):
    assert spell(hours) == text


def test_every_table_of_the_real_graph_can_be_planned():
    known = declared.stages()
    tables = plan.table_stages(known)
    jobs = plan.jobs_of(known, tables.values(), full, lambda _: Network(1e5, 1e7, 3 * 10**7), Rates(9.5))
    found = plan.table_costs(known, tables, jobs, gpus=8)
    assert {cost.name for cost in found} == set(tables)
    assert sum(cost.more for cost in found) == pytest.approx(sum(j.seconds for j in jobs.values()) / 3600)
    assert found[-1].total == pytest.approx(sum(cost.more for cost in found))
    assert all(cost.more <= cost.alone + 1e-9 and math.isfinite(cost.wall) for cost in found)
    total = sum(j.seconds for j in jobs.values())
    assert total / 8 / 3600 <= best_wall_time(list(jobs.values()), 8)[0] / 3600 <= total / 3600
