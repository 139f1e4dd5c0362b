"""`snakemake --report` and `dvc plots show` on the same results, in a copy of the project with fake stages."""

import ast
import re
import zipfile
from pathlib import Path

import pytest
from graph_project import ROOT, copy_project

from pipeline.graph import declared

TABLE, FIGURE = "reports/mini/headline/dst_t2.md", "reports/mini/figures/statistics.png"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project in which a table, a figure and everything below them were built by Snakemake."""
    project = copy_project(tmp_path_factory.mktemp("doors") / "project")
    project.run("dvc", "repro", "code")
    project.run("snakemake", "--cores", "2", TABLE, FIGURE)
    return project


@pytest.mark.slow
def test_snakemakes_report_holds_results_with_captions_and_categories(built):
    built.run("snakemake", "--report", "report.zip", TABLE, FIGURE)
    with zipfile.ZipFile(built.root / "report.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(("report.html", ".js", ".json"))]
        text = "".join(archive.read(name).decode() for name in names)
    for wanted in ("dst_t2.md", "statistics.png", "Headline tables", "One published table with our numbers beside it"):
        assert wanted in text


@pytest.mark.slow
def test_dvc_plots_show_draws_the_same_results(built):
    history = built.root / "reports/mini/history/dst_frcnn_r50_fpn_1x_dst.csv"
    said = built.run("dvc", "plots", "show", str(history.relative_to(built.root))).stdout
    text = Path(re.search(r"file://(\S+\.html)", said)[1]).read_text()
    assert "dst_frcnn_r50_fpn_1x_dst_csv" in text  # DVC's name of the plot
    assert history.read_text().split(",")[-1].strip() in text  # its last loss


def test_what_the_rules_report_are_kinds_of_stages_and_every_caption_is_used():
    text = (ROOT / "workflow/rules/common.smk").read_text()
    reported = ast.literal_eval(re.search(r"^REPORTED = (\{.*?^\})", text, re.M | re.S)[1])
    assert set(reported) <= {kind.name for kind in declared.kinds(declared.stages())}
    captions = {f"{caption}.rst" for caption, _, _ in reported.values()}
    assert captions | {"workflow.rst"} == {path.name for path in (ROOT / "workflow/report").glob("*.rst")}
