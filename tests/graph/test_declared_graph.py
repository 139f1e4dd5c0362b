"""The texts of the graph: one for all papers, indexes that equal the experiment files, one graph behind both doors."""

import re
from pathlib import Path

import pytest
import yaml
from graph_project import copy_project

from pipeline import code_digest, paths
from pipeline.graph import check, declared

PRESET = yaml.safe_load((paths.ROOT / "params.yaml").read_text())["preset"]


def load(path):
    return yaml.safe_load((paths.ROOT / path).read_text())


def test_all_papers_share_one_text():
    texts = {paper: (paths.ROOT / "workflow/papers" / paper / "dvc.yaml").read_text() for paper in paths.PAPERS}
    assert len(set(texts.values())) == 1
    assert not any((paths.ROOT / "workflow/papers" / paper / "dvc.yaml").is_symlink() for paper in paths.PAPERS)


@pytest.mark.parametrize("paper", paths.PAPERS)
def test_the_index_equals_the_experiment_files(paper):
    experiments, evaluations, proposing = {}, {}, {}
    apart = {"experiments": {}, "evaluations": {}}  # those that classify another experiment's proposals
    for path in sorted((paths.ROOT / "workflow/papers" / paper / "experiments").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if content["detector"] == "classifier":  # a pre-training, in workflow/inits.yaml
            continue
        source = content.get("proposals")
        recipe = {"recipe": content["recipe"]}
        named = {"proposals": source} if source else {}
        (apart["experiments"] if source else experiments)[path.stem] = {"init": content["init"], **recipe, **named}
        for test, options in content.get("tests", {"single": {}}).items():
            named = {"proposals": (options or {}).get("proposals", source)} if source else {}
            (apart["evaluations"] if source else evaluations)[paths.evaluation_name(path.stem, test)] = {
                "experiment": path.stem,
                "test": test,
                **recipe,
                **named,
            }
            if source:
                proposing |= {source: None, named["proposals"]: None}
    assert load(paths.paper_index(paper)) == {"paper": paper, "experiments": experiments, "evaluations": evaluations}
    index = paths.paper_index(paper).parent / "proposals/experiments.yaml"
    found = load(index) if (paths.ROOT / index).is_file() else {"paper": paper, "proposing": {}, **apart}
    recipes = {name: {"recipe": experiments[name]["recipe"]} for name in proposing}
    # A network may propose before an experiment is there to classify; every proposal has its network.
    searched = found.pop("searched", {})  # tests of several resolutions
    assert searched.items() <= apart["evaluations"].items()
    assert found == {"paper": paper, "proposing": found["proposing"] | recipes, **apart}
    assert set(found["proposing"]) <= set(experiments)


def test_stages_with_proposals_are_the_papers_stages_with_one_file_more():
    common, ours = (load(f"workflow/papers/snip/{name}dvc.yaml")["stages"] for name in ("", "proposals/"))
    assert set(ours) == {"propose", "search_ranges", *common}
    for name, stage in common.items():
        more = {"train": "train", "predict": "val"}.get(name)
        file = "data/runs/${preset}/${item.proposals}/proposals_%s.safetensors"
        expected = stage["do"] | {"wdir": "../../../.."}
        if more:
            expected["deps"] = [*expected["deps"], file % more]
        assert ours[name] == {"foreach": stage["foreach"], "do": expected}


def test_proposals_reach_training_and_prediction_of_their_own_split():
    known = declared.stages()
    folder = f"data/runs/{PRESET}"
    for name, item in load("workflow/papers/snip/proposals/experiments.yaml")["experiments"].items():
        (train,) = [stage for address, stage in known.items() if address.endswith(f":train@{name}")]
        assert train.deps[-1] == f"{folder}/{item['proposals']}/proposals_train.safetensors"
        ancestors = declared.ancestors(train.address, known)
        assert f"workflow/papers/snip/dvc.yaml:train@{item['proposals']}" in ancestors
    for name, item in load("workflow/papers/snip/proposals/experiments.yaml")["evaluations"].items():
        (predict,) = [stage for address, stage in known.items() if address.endswith(f":predict@{name}")]
        assert predict.deps[-1] == f"{folder}/{item['proposals']}/proposals_val.safetensors"


def test_the_indexes_of_inits_and_classifiers_equal_the_experiment_files():
    files = [*(paths.ROOT / "workflow/inits").glob("*.yaml"), *paths.ROOT.glob("workflow/papers/*/experiments/*.yaml")]
    contents = {path: yaml.safe_load(path.read_text()) for path in files}
    started_from = {c["init"] for c in contents.values() if c["detector"] != "classifier"}
    inits, gsl, scratch, fine_tuned = {}, {}, {}, {}
    for path, content in contents.items():
        entry = {"file": path.relative_to(paths.ROOT).as_posix(), "recipe": content["recipe"]}
        if content["detector"] != "classifier":
            if content.get("method", {}).get("global_scale"):
                gsl[path.stem] = entry | {"init": content["init"]}
        elif paths.paper_of(path.stem) == "shared" or path.stem in started_from:
            inits[path.stem] = entry
        elif content["init"] == "none":
            scratch[path.stem] = entry
        else:
            fine_tuned[path.stem] = entry | {"init": content["init"]}
    found = load("workflow/inits.yaml")
    assert found["inits"] | found["further_inits"] == inits
    assert found["gsl"] | found["further_gsl"] == gsl
    assert load("workflow/classifiers.yaml") == {"scratch": scratch, "fine_tuned": fine_tuned}
    assert {entry["init"] for entry in fine_tuned.values()} <= set(scratch)


def test_a_plain_repro_trains_the_inits_of_the_report_and_no_others():
    stages = declared.stages()
    maker = {out: address for address, stage in stages.items() for out in stage.outs}
    needed, waiting = set(), ["report"]
    while waiting:
        address = waiting.pop()
        if address not in needed:
            needed.add(address)
            waiting += [maker[dep] for dep in stages[address].deps if dep in maker]
    found = load("workflow/inits.yaml")
    assert {a.removeprefix("pretrain@") for a in needed if a.startswith("pretrain@")} == set(found["inits"])
    assert {a.removeprefix("decompose@") for a in needed if a.startswith("decompose@")} == set(found["gsl"])
    assert not any("workflow/further" in address for address in needed)


def test_further_inits_are_made_by_the_same_stages():
    root, further = load("dvc.yaml")["stages"], load("workflow/further/dvc.yaml")["stages"]
    for name, stage in further.items():
        assert stage["do"] == root[name]["do"] | {"wdir": "../.."}, name
        assert stage["foreach"] == root[name]["foreach"].replace("${", "${further_")


def test_the_index_of_analyses_names_experiments_that_fit():
    wanted = {"weight_share": {}, "offsets": {}, "export": {}}
    for path in sorted(paths.ROOT.glob("workflow/papers/*/experiments/*.yaml")):
        content = yaml.safe_load(path.read_text())
        method, entry = content.get("method", {}), {"paper": path.parts[-3], "recipe": content["recipe"]}
        if content["detector"] == "classifier":
            continue
        for kind, keys in (
            ("weight_share", ["psconv"]),
            ("offsets", ["deformable"]),
            ("export", ["psconv", "decomposed"]),
        ):
            if any(key in method for key in keys):
                wanted[kind][path.stem] = entry
    found = load("workflow/analyses.yaml")
    assert set(found) == set(wanted)
    for kind, entries in found.items():  # not all of them: a plain `dvc repro` trains what is listed
        assert entries, kind
        assert entries.items() <= wanted[kind].items(), kind


def test_every_training_has_an_init_that_a_stage_makes():
    made = {out for stage in declared.stages().values() for out in stage.outs}
    for stage in declared.stages().values():
        inits = [dep for dep in stage.deps if dep.startswith("data/init/")]
        assert ":train@" not in stage.address or (len(inits) == 1 and inits[0] in made), stage.address


def test_a_table_lists_both_files_of_each_evaluation_and_experiment():
    for stage in declared.stages().values():
        if "/tables/" not in stage.address:
            continue
        metrics = {
            Path(d).stem for d in stage.deps if "/metrics/" in d and not d.endswith(("_size.json", "_scales.json"))
        }
        bootstrap = {Path(d).stem for d in stage.deps if "/bootstrap/" in d}
        sizes = {Path(d).stem.removesuffix("_size") for d in stage.deps if d.endswith("_size.json")}
        trainings = {m.removesuffix("_training") for m in metrics if m.endswith("_training")}
        evaluations = {m for m in metrics if not m.endswith("_training")}
        assert evaluations == bootstrap or stage.address.endswith(":pod_t3"), stage.address  # scales have no interval
        assert sizes == trainings, stage.address
        assert {paths.split_evaluation(e)[0] for e in evaluations} <= sizes, stage.address
        assert f"data/published/{stage.address.split('/')[2]}.yaml" in stage.deps


def test_the_rows_of_a_table_are_those_its_stage_reads():
    listed = {}
    for paper in paths.PAPERS:
        listed |= load(paths.table_rows(paper))
    stages = {address.split(":")[1]: stage for address, stage in declared.stages().items() if "/tables/" in address}
    assert set(listed) == set(stages)
    for name, stage in stages.items():
        stems = [Path(dep).stem for dep in stage.deps if "/metrics/" in dep]
        read = [stem.removesuffix("_scales") for stem in stems if not stem.endswith(("_training", "_size"))]
        assert listed[name] == list(dict.fromkeys(read)), name


def test_every_stage_depends_on_its_code_and_on_the_preset():
    for stage in declared.stages().values():
        if stage.address == "code":
            assert set(stage.outs) == {
                str(paths.code_digest(s))
                for s in {re.search(r"stages\.(\w+)", t.command)[1] for t in declared.stages().values()}
            } - {"data/code/code.txt"}
            continue
        script = re.search(r"pipeline\.stages\.(\w+)", stage.command)[1]
        assert stage.deps[:2] == (f"data/code/{script}.txt", f"workflow/presets/{PRESET}.yaml"), stage.address
        assert stage.command.endswith(f"--preset {PRESET}")


def test_the_code_stage_writes_a_digest_for_every_stage_module():
    declared_outs = {Path(out).stem for out in declared.stages()["code"].outs}
    missing = declared_outs - set(code_digest.stages())
    if missing:
        pytest.skip(f"not written yet: {sorted(missing)}")
    assert declared_outs == set(code_digest.stages())


def test_both_doors_show_one_graph(tmp_path):
    project = copy_project(tmp_path / "project", fake=False)
    assert "Both doors show one graph" in project.run("python", "-m", "pipeline.graph", "check").stdout
    assert "rule report:" in project.run("snakemake", "--dry-run").stdout  # the default target
    rules = project.root / "workflow/rules/experiments.smk"
    rules.write_text(rules.read_text().replace("        recipe=recipe_of,\n", ""))  # one dependency less
    drifted = project.run("python", "-m", "pipeline.graph", "check", check=False)
    assert drifted.returncode == 1
    sentence = "dst_frcnn_r50_fpn_1x/weights.safetensors: depends on workflow/schedules/dst.yaml only in DVC"
    assert sentence in drifted.stdout


def test_a_difference_is_said_in_one_sentence():
    one = {"a": ("make_a", frozenset({"x"})), "b": ("make_b", frozenset())}
    two = {"a": ("make_a", frozenset({"x", "y"})), "c": ("make_c", frozenset())}
    assert check.differences(one, two, "DVC", "Snakemake") == [
        "b: made by make_b in DVC, by nothing in Snakemake",
        "c: made by make_c in Snakemake, by nothing in DVC",
        "a: depends on y only in Snakemake",
    ]
    assert check.differences(one, one, "DVC", "Snakemake") == []
