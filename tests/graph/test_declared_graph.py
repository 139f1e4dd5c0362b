"""The texts of the graph: one for all papers, indexes that equal the experiment files, one graph behind both doors."""

import re
from pathlib import Path

import pytest
import yaml
from graph_project import copy_project

from pipeline import code_digest, config, paths
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
    together = {"experiments": {}, "evaluations": {}}  # ensembles
    joint = {"experiments": {}, "evaluations": {}}  # networks of two bodies
    on_voc = {"experiments": {}, "evaluations": {}}
    for path in sorted((paths.ROOT / "workflow/papers" / paper / "experiments").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if content["detector"] == "classifier":  # a pre-training, in workflow/inits.yaml
            continue
        source = content.get("proposals")
        recipe = {"recipe": content["recipe"]}
        named = {"proposals": source} if source else {}
        voc = on_voc if content["dataset"] == "voc" else {"experiments": experiments, "evaluations": evaluations}
        second = {key: value for key, value in content.get("region", {}).items() if key == "second_init"}
        kind = joint if second else apart if source else voc
        kind["experiments"][path.stem] = {"init": content["init"], **second, **recipe, **named}
        for test, options in content.get("tests", {"single": {}}).items():
            named = {"proposals": (options or {}).get("proposals", source)} if source else {}
            members = dict(zip(("second", "third"), (options or {}).get("members", ()), strict=False))
            kind = together if members else joint if second else apart if source else voc
            kind["evaluations"][paths.evaluation_name(path.stem, test)] = {
                "experiment": path.stem,
                "test": test,
                **recipe,
                **named,
                **members,
            }
            if source:
                proposing |= {source: None, named["proposals"]: None}
    assert load(paths.paper_index(paper)) == {"paper": paper, "experiments": experiments, "evaluations": evaluations}
    index = paths.paper_index(paper).parent / "voc/experiments.yaml"
    found = load(index) if (paths.ROOT / index).is_file() else {"paper": paper, "dataset": "voc", **on_voc}
    assert found == {"paper": paper, "dataset": "voc", **on_voc}
    for folder, entries in {"ensembles": together, "joint": joint}.items():
        index = paths.paper_index(paper).parent / folder / "experiments.yaml"
        found = load(index) if (paths.ROOT / index).is_file() else {"paper": paper, **entries}
        assert found == {"paper": paper, **entries}
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


def test_a_network_of_two_bodies_trains_from_two_inits():
    common, ours = (load(f"workflow/papers/snip/{name}/dvc.yaml")["stages"] for name in ("proposals", "joint"))
    deps = [*common["train"]["do"]["deps"], "data/init/${preset}/${item.second_init}.safetensors"]
    assert ours["train"] == {**common["train"], "do": common["train"]["do"] | {"deps": deps}}
    assert {name: stage for name, stage in ours.items() if name != "train"} == {
        name: common[name] for name in ("predict", "evaluate", "measure")
    }
    for name, item in load("workflow/papers/snip/joint/experiments.yaml")["experiments"].items():
        train = declared.stages()[f"workflow/papers/snip/joint/dvc.yaml:train@{name}"]
        wanted = [paths.init(PRESET, init).as_posix() for init in (item["init"], item["second_init"])]
        assert [dep for dep in train.deps if dep.startswith("data/init/")] == wanted


def test_ensembles_are_predicted_from_the_weights_of_all_their_networks():
    common, ours = (load(f"workflow/papers/snip/{name}/dvc.yaml")["stages"] for name in ("proposals", "ensembles"))
    assert set(ours) == {"predict", "evaluate"}
    assert ours["evaluate"] == common["evaluate"]
    deps = [*common["predict"]["do"]["deps"]]
    deps += [f"workflow/papers/${{paper}}/experiments/${{item.{place}}}.yaml" for place in ("second", "third")]
    deps += [f"data/runs/${{preset}}/${{item.{place}}}/weights.safetensors" for place in ("second", "third")]
    assert ours["predict"] == {**common["predict"], "do": common["predict"]["do"] | {"deps": deps}}
    evaluations = load("workflow/papers/snip/ensembles/experiments.yaml")["evaluations"]
    known = declared.stages()
    for name, item in evaluations.items():
        tests = load(paths.experiment_file(item["experiment"]))["tests"]
        assert tests[item["test"]]["members"] == [item["second"], item["third"]]  # two places, so no member is lost
        predict = known[f"workflow/papers/snip/ensembles/dvc.yaml:predict@{name}"]
        for network in (item["experiment"], item["second"], item["third"]):
            assert f"data/runs/{PRESET}/{network}/weights.safetensors" in predict.deps
            train = f"workflow/papers/snip/proposals/dvc.yaml:train@{network}"
            assert train in declared.ancestors(predict.address, known)


def test_stages_on_voc_are_the_papers_stages_on_other_data():
    common = yaml.safe_dump(load("workflow/papers/dst/dvc.yaml")["stages"])
    expected = common.replace("wdir: ../../..", "wdir: ../../../..").replace("}/manifest.json", "}/voc/manifest.json")
    assert load("workflow/papers/dst/voc/dvc.yaml")["stages"] == yaml.safe_load(expected)


def test_experiments_depend_on_the_data_that_they_read():
    known = declared.stages()
    for address, stage in known.items():
        found = [dep for dep in stage.deps if dep.endswith("/manifest.json")]
        name = re.search(r":(?:train|predict|evaluate|propose)@(.+)", address)
        if name and "workflow/classifiers" not in address:
            assert found == [config.resolve(paths.split_evaluation(name[1])[0], PRESET).manifest.as_posix()], address
    assert known["workflow/data/dvc.yaml:verify_voc"].outs[0] == paths.manifest(PRESET, "voc").as_posix()


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
            inits[path.stem] = entry | ({"like": content["like"]} if "like" in content else {})
        elif content["init"] == "none":
            scratch[path.stem] = entry
        else:
            fine_tuned[path.stem] = entry | {"init": content["init"]}
    found = load("workflow/inits.yaml")
    assert found["inits"] | found["deeper_inits"] | found["further_inits"] == inits
    assert found["gsl"] | found["further_gsl"] == gsl
    classifiers = load("workflow/classifiers.yaml")
    measured = classifiers.pop("measured")
    assert classifiers == {"scratch": scratch, "fine_tuned": fine_tuned}
    assert scratch.items() <= measured.items() <= (scratch | inits).items()
    assert {entry["init"] for entry in fine_tuned.values()} <= set(scratch)


def test_the_quickstart_trains_no_further_init_and_the_report_all_of_them():
    stages, found = declared.stages(), load("workflow/inits.yaml")
    needed = declared.ancestors("quickstart", stages)
    made = {a.rpartition("@")[2] for a in needed if "pretrain@" in a}
    assert made == set(found["inits"] | found["deeper_inits"])
    assert {a.removeprefix("decompose@") for a in needed if a.startswith("decompose@")} == set(found["gsl"])
    assert not any("workflow/further" in address or "workflow/classifiers" in address for address in needed)
    needed = declared.ancestors("report", stages)
    for kind, index in (("pretrain", "inits"), ("decompose", "gsl")):
        names = {address.rpartition("@")[2] for address in needed if f"{kind}@" in address}
        assert names == set(found[index] | found[f"further_{index}"] | found.get(f"deeper_{index}", {}))


def test_further_inits_are_made_by_the_same_stages():
    root, further = load("dvc.yaml")["stages"], load("workflow/further/dvc.yaml")["stages"]
    for name, stage in further.items():
        assert stage["do"] == root[name]["do"] | {"wdir": "../.."}, name
        assert stage["foreach"] == root[name]["foreach"].replace("${", "${further_")


def test_a_deeper_init_is_made_like_others_and_rests_on_what_it_may_take_over():
    root, deeper = load("dvc.yaml")["stages"], load("workflow/deeper/dvc.yaml")["stages"]
    assert list(deeper) == ["pretrain"]
    usual, stage = root["pretrain"]["do"], deeper["pretrain"]["do"]
    assert stage | {"deps": usual["deps"]} == usual | {"wdir": "../.."}
    assert stage["deps"][: len(usual["deps"])] == usual["deps"]
    known = declared.stages()
    assert "pretrain@resnet50" in declared.ancestors("workflow/deeper/dvc.yaml:pretrain@resnet101", known)


def test_the_index_of_analyses_names_experiments_that_fit():
    wanted = {"weight_share": {}, "weight_share_classifier": {}, "offsets": {}, "loss_share": {}, "export": {}}
    for path in sorted(paths.ROOT.glob("workflow/papers/*/experiments/*.yaml")):
        content = yaml.safe_load(path.read_text())
        method, entry = content.get("method", {}), {"paper": path.parts[-3], "recipe": content["recipe"]}
        if content["detector"] == "classifier":
            if "psconv" in method:
                wanted["weight_share_classifier"][path.stem] = entry
            continue
        for kind, keys in (
            ("weight_share", ["psconv"]),
            ("offsets", ["deformable"]),
            ("export", ["psconv", "decomposed"]),
        ):
            if any(key in method for key in keys):
                wanted[kind][path.stem] = entry
        if not method:
            wanted["loss_share"][path.stem] = entry
    found = load("workflow/analyses.yaml")
    assert set(found) == {*wanted, "gallery"}  # pairs of runs, which tests/reporting/test_gallery.py looks at
    for kind, entries in wanted.items():  # not all of them: a plain `dvc repro` trains what is listed
        assert found[kind], kind
        assert found[kind].items() <= entries.items(), kind


def test_every_training_has_an_init_that_a_stage_makes():
    made = {out for stage in declared.stages().values() for out in stage.outs}
    for stage in declared.stages().values():
        inits = [dep for dep in stage.deps if dep.startswith("data/init/")]
        bodies = 2 if "/joint/" in stage.address else 1
        assert ":train@" not in stage.address or (len(inits) == bodies and made.issuperset(inits)), stage.address


def test_a_table_lists_both_files_of_each_evaluation_and_experiment():
    for stage in declared.stages().values():
        if "/tables/" not in stage.address or stage.address.endswith(":psconv_s_g"):  # a benchmark's times
            continue
        others = ("_size.json", "_scales.json", "/identities.json")
        metrics = {Path(d).stem for d in stage.deps if "/metrics/" in d and not d.endswith(others)}
        bootstrap = {Path(d).stem for d in stage.deps if "/bootstrap/" in d}
        sizes = {Path(d).stem.removesuffix("_size") for d in stage.deps if d.endswith("_size.json")}
        trainings = {m.removesuffix("_training") for m in metrics if m.endswith("_training")}
        evaluations = {m for m in metrics if not m.endswith("_training")}
        assert evaluations == bootstrap, stage.address
        assert sizes == trainings or stage.address.endswith("pod_t3"), stage.address  # scales cost nothing there
        assert {paths.split_evaluation(e)[0] for e in evaluations} <= sizes, stage.address
        assert f"data/published/{stage.address.split('/')[2]}.yaml" in stage.deps


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
    assert {Path(out).stem for out in declared.stages()["code"].outs} == set(code_digest.stages())


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
