"""Pages: each in git is what the JSON beside it makes; and what no committed result shows."""

from typing import Any

import pytest

from pipeline import paths
from pipeline.benchmarks.pages.annotations import annotations_page
from pipeline.benchmarks.pages.architectures import architectures_page
from pipeline.benchmarks.pages.detector_times import detector_times_page
from pipeline.benchmarks.pages.dst_overhead import dst_overhead_page
from pipeline.benchmarks.pages.evaluation import evaluation_page
from pipeline.benchmarks.pages.full_size import full_size_page
from pipeline.benchmarks.pages.layers import benchmark_page, profile_text
from pipeline.benchmarks.pages.loading import loading_page
from pipeline.benchmarks.pages.rehearsal import rehearsal_page
from pipeline.benchmarks.pages.throughput import throughput_page
from pipeline.files import read_json

FOLDER = paths.ROOT / "reports/benchmarks"
PAGES = {
    "annotation_statistics": annotations_page,
    "cpu_architectures": architectures_page,
    "cpu_detectors": detector_times_page,
    "cpu_dst_overhead": dst_overhead_page,
    "cpu_evaluation": evaluation_page,
    "cpu_layers": benchmark_page,
    "cpu_loading": loading_page,
    "cpu_throughput": throughput_page,
    "cpu_throughput_mini": throughput_page,
    "full_size": full_size_page,
    "rehearsal": rehearsal_page,
}


def result(name: str) -> dict[str, Any]:
    return read_json(FOLDER / f"{name}.json")


def test_every_result_in_git_has_a_page():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_git_is_made_of_the_numbers_beside_it(name):
    assert PAGES[name](result(name)) == (FOLDER / f"{name}.md").read_text()


def test_a_missed_limit_is_called_so():
    found = result("cpu_throughput")
    found["ratio"]["median"] = 0.99
    assert "**missed**" in throughput_page(found)


def test_dst_at_the_papers_size_with_loading_processes():
    found = result("cpu_dst_overhead") | {"preset": "full"}
    found["settings"]["workers"] = 2
    page = dst_overhead_page(found)
    assert "Not at the papers' size" not in page
    assert "in 2 processes of its own" in page


def test_a_quick_run_of_layers_says_so_and_what_is_absent():
    found = result("cpu_layers") | {"marks": [], "profiles": [], "rows": [], "absent": ["No msgspec: networks."]}
    found["settings"]["quick"] = True
    page = benchmark_page(found)
    assert "its times are not results" in page
    assert "No msgspec: networks." in page


def test_a_profile_without_kernels_is_not_explained():
    nothing = {"ms": 0.0, "convolution_ms": 0.0, "operators": []}
    profile = {"mark": "PSConv", "case": {"height": 8, "width": 8, "batch": 1}}
    text = profile_text(profile | {"shares": {"plain": nothing, "psconv": nothing}})
    assert text.startswith("### Why: PSConv\n")
    assert "saw no kernels" in text


def test_a_way_that_a_size_does_not_have_is_an_empty_cell():
    found = result("cpu_layers")
    (size, *_), lacking = [row["case"] for row in found["rows"] if row["group"] == "layer"], "groups_2"
    found["rows"] = [row for row in found["rows"] if row["case"] != size or row["name"] != lacking]
    first = next(line for line in benchmark_page(found).splitlines() if line.startswith("| 64 channels, 56x56 px"))
    assert first.split("|").count("  ") == 1


def test_a_rehearsal_tells_failures_and_leaves_out_rows_of_other_code():
    found = result("rehearsal")
    good, failed, old = found["rows"][:3]
    failed |= {"failure": "a loss is not finite: nan"}
    old |= {"code": "old"}
    page = rehearsal_page(found | {"rows": [good, failed, old], "experiments": 3})
    assert "**1 of 3 experiments of the papers ran through all their stages**" in page
    assert f"| `{failed['name']}` | a loss is not finite: nan |" in page
    assert f"`{old['name']}`" not in page
    assert "1 row of an earlier state of the code left out." in page
