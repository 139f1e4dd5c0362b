"""Snakemake's rules, made from the declared stages: which there are, what they ask for, and that DVC sees the same."""

import re

import pytest
from graph_project import copy_project

from pipeline import paths
from pipeline.graph import check, declared

STAGES = declared.stages()
KINDS = {kind.name: kind for kind in declared.kinds(STAGES)}
PRESET = STAGES["report"].command.split()[-1]
HEAVY = {"pretrain", "classify", "fine_tune", "train", "propose", "predict", "search_ranges", "learn_scales", "offsets"}
HEAVY |= {"export"}


def test_every_stage_has_one_kind_whose_patterns_give_its_outputs():
    pairs = [(kind, stage) for kind in KINDS.values() for stage in kind.stages]
    assert sorted(stage.address for _, stage in pairs) == sorted(STAGES)
    for kind, stage in pairs:
        assert tuple(pattern.format(**stage.wildcards) for pattern in kind.patterns) == stage.outs, stage.address


@pytest.mark.parametrize(
    ("name", "script", "in_folder", "expected"),
    [
        ("page_pod", "page pod", False, ("page", "pod")),
        ("headline_dst_t2", "table dst_t2 --headline", True, ("headline", "dst_t2")),
        ("dst_t2", "table dst_t2", True, ("table", "dst_t2")),
        ("catalogue", "page catalogue", False, ("catalogue", "")),
        ("quickstart", "page index", False, ("quickstart", "")),
        ("verify_voc", "verify --dataset voc", True, ("verify_voc", "")),
    ],
)
def test_the_kind_of_a_stage_that_is_written_out(name, script, in_folder, expected):
    assert declared.kind_of(name, f"python -m pipeline.stages.{script} --preset mini", in_folder) == expected


def test_a_stage_with_other_outputs_than_its_kind_is_a_kind_of_its_own():
    one, other = (
        declared.Stage(f"page_{key}", "", (), (f"{folder}/{key}.md",), "page", (f"{folder}/{{key}}.md",), {"key": key})
        for key, folder in (("pod", "papers"), ("index", "pages"))
    )
    kinds = declared.kinds({stage.address: stage for stage in (one, other)})
    assert [(kind.name, kind.patterns, kind.values) for kind in kinds] == [
        ("page", ("papers/{key}.md",), {"key": {"pod"}}),
        ("page_index", ("pages/index.md",), {}),
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("rules") / "project", fake=False)
    preset = project.root / paths.preset_file(PRESET)
    preset.write_text(re.sub(r"^threads: \d+", "threads: 3", preset.read_text(), flags=re.M))
    return project


@pytest.mark.slow
def test_a_rule_asks_for_what_its_kind_needs(project):
    targets = [kind.stages[0].outs[0] for kind in KINDS.values()]
    text = project.run("snakemake", "--dry-run", "--forceall", "--cores", "4", *targets).stdout
    found, logs = {}, set()
    for block in re.split(r"\n(?:local)?rule (?=\w+:\n)", text)[1:]:
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, re.M))
        resources = fields.get("resources", "").split(", ")
        asked = (fields.get("threads", "1"), "gpu=1" in resources, "mem=3 GB" in resources, fields.get("priority", "0"))
        found.setdefault(block.partition(":")[0], set()).add(asked)
        logs.add(fields["log"])
    light, heavy = {("1", False, False, "0")}, {("3", True, True, "0")}
    expected = {name: heavy if name in HEAVY else light for name in KINDS}
    expected |= {name: {("3", True, True, "1")} for name in ("train", "propose")}
    assert found == expected
    dst = "dst_frcnn_r50_fpn_1x_dst"
    named = {f"train/{dst}", f"predict/{dst}__single", f"evaluate/{dst}", "table/dst_t2", "headline/dst_t2", "page/pod"}
    assert {f"logs/{name}.log" for name in named | {"verify", "quickstart", "catalogue", "report"}} <= logs


@pytest.mark.slow
def test_both_doors_show_one_graph(project):
    assert "Both doors show one graph" in project.run("python", "-m", "pipeline.graph", "check").stdout
    assert "rule report:" in project.run("snakemake", "--dry-run").stdout  # the default target
    rules = project.root / "workflow/rules/stages.smk"
    other = '            "some_report" if kind.name == "report" else kind.name\n'
    rules.write_text(rules.read_text().replace("            kind.name\n", other))
    table = project.root / "workflow/papers/dst/tables/dvc.yaml"
    # `declared` takes it for the root
    table.write_text(table.read_text().replace("wdir: ../../../..\n", "wdir: .\n", 1))
    drifted = project.run("python", "-m", "pipeline.graph", "check", check=False)
    assert drifted.returncode == 1
    assert "made by rule report in pipeline.graph.declared, by rule some_report in Snakemake" in drifted.stdout
    assert "by nothing in pipeline.graph.declared" in drifted.stdout


def test_a_difference_is_said_in_one_sentence():
    one = {"a": ("make_a", frozenset({"x"})), "b": ("make_b", frozenset())}
    two = {"a": ("make_a", frozenset({"x", "y"})), "c": ("make_c", frozenset())}
    assert check.differences(one, two, "DVC", "Snakemake") == [
        "b: made by make_b in DVC, by nothing in Snakemake",
        "c: made by make_c in Snakemake, by nothing in DVC",
        "a: depends on y only in Snakemake",
    ]
    assert check.differences(one, one, "DVC", "Snakemake") == []
