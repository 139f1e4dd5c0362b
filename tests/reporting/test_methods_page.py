"""All methods side by side: gains by hand, the best part of a combination, costs, and what is not run."""

from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json
from pipeline.reporting.methods_page import write_methods
from pipeline.verdicts.methods import BASE, COMBINATIONS, METHODS, PSCONV, SINGLES, best_part, compare_pair
from pipeline.verdicts.results import Results, load_experiment


def rows() -> list[dict[str, str]]:
    return read_csv(paths.methods("mini").with_suffix(".csv"))


def combos(fake) -> None:
    """Write PSConv's baseline with AP 20, PSConv 22, DST 23, both together 26."""
    fake.evaluation(BASE, 0.20)
    for name, ap, collage in ((PSCONV, 0.22, None), ("_dst", 0.23, 0.4), ("_psconv_dst", 0.26, 0.4)):
        name = name if name == PSCONV else f"combo_frcnn_r50_fpn_1x{name}"
        fake.evaluation(name, ap)
        fake.training(name, collage)
        fake.size(name, 2_200_000, 1_000_000_000)
    fake.training(BASE)
    fake.size(BASE, 2_000_000, 1_000_000_000)
    fake.noise(sd=0.005, dof=4)  # an interval of 1.96 points


def test_every_method_is_compared_inside_its_own_papers_recipe():
    for pair in METHODS:
        method, base = (load_experiment(paths.split_evaluation(n)[0]) for n in (pair.evaluation, pair.baseline))
        assert paths.paper_of(pair.evaluation) == paths.paper_of(pair.baseline)
        assert (method.recipe, method.detector, method.backbone) == (base.recipe, base.detector, base.backbone)
    assert {paths.paper_of(pair.evaluation) for pair in METHODS} == set(paths.PAPERS)
    assert all(pair.name in load_experiment(pair.evaluation).notes.row for pair, _ in COMBINATIONS)


def test_gains_of_single_methods_and_combinations(fake):
    combos(fake)
    write_methods("mini")
    found = {(r["group"], r["method"], r["metric"]): r for r in rows()}
    joined = found["one recipe, combined", "PSConv + DST", "ap_small"]
    assert (joined["gain"], joined["low"], joined["high"], joined["verdict"]) == ("6.0", "4.0", "8.0", "decided up")
    assert found["own recipe", "PSConv", "ap"]["gain"] == "2.0"
    assert found["one recipe, combined", "MSFM + DST", "ap"]["verdict"] == "not run"
    page = paths.methods("mini").read_text()
    assert "| 26.0 | 5 | **+6.0 [+4.0, +8.0]** |" in page
    assert found["one recipe, single", "DST", "ap_small"]["verdict"] == "decided up"
    assert "| **+3.0 [+1.0, +5.0]** |" in page
    line = next(x for x in page.splitlines() if x.startswith("| PSConv + DST | DST |"))
    assert line.startswith("| PSConv + DST | DST | **+3.0 [+1.0, +5.0]** |")
    assert "| 1.10x | 1.00x | 1.00x | 40.0 % |" in page
    # what a combination is made of must have been run in its recipe
    fake.evaluation("combo_frcnn_r50_fpn_1x_msfm_dst", 0.25)
    fake.noise(sd=0.005, dof=4)
    write_methods("mini")
    assert "| MSFM + DST | MSFM alone not run in this recipe |" in paths.methods("mini").read_text()
    # a combination is set against its best part
    singles = [compare_pair(Results("mini"), pair) for pair in SINGLES]
    assert best_part(singles, ("PSConv", "DST")).pair.name == "DST"
    assert best_part(singles, ("PSConv",)).pair.name == "PSConv"
    assert best_part(singles, ("MSFM", "DST")) is None  # MSFM alone was not run
    fake.training("combo_frcnn_r50_fpn_1x_dst", 0.0)
    write_methods("mini")
    row = next(r for r in rows() if r["evaluation"] == "combo_frcnn_r50_fpn_1x_dst" and r["metric"] == "ap")
    assert row["verdict"] == "inactive"
    assert ", inactive |" in paths.methods("mini").read_text()


def test_nothing_run_reads_not_run_and_latency_takes_or_asks_for_its_benchmark(fake):
    write_methods("mini")
    page = paths.methods("mini").read_text()
    assert {r["verdict"] for r in rows()} == {"not run"}
    assert "Not measured: `python -m pipeline.benchmarks.layers --device cpu`" in page
    assert page.count("| PSConv + DST | not run |") == 1
    # latency is read from the layers benchmark
    times = {"median": 1.2, "low": 1.1, "high": 1.3}
    row = {"group": "network", "dtype": "fp32", "mode": "forward", "name": "psconv", "ratio": times}
    row |= {"case": {"batch": 2, "height": 224, "width": 224}}
    other = row | {"group": "layer"}
    write_json("reports/benchmarks/cpu_layers.json", {"machine": {"cpu": "X", "threads": 1}, "rows": [row, other]})
    write_methods("mini")
    page = paths.methods("mini").read_text()
    assert page.count("| PSConv | inference | 2 x 224 x 224 px | 1.20x | 1.10x to 1.30x |") == 1
