"""Runs of the noise benchmark that ended are used again, and only while all that decides them is the same."""

import msgspec
import pytest

from pipeline import paths
from pipeline.benchmarks import seed_runs, seeds
from pipeline.benchmarks.seed_groups import BASELINES, PRECISIONS
from pipeline.errors import InputError
from pipeline.files import write_json, write_text
from pipeline.verdicts.results import PRETRAINING


@pytest.fixture
def specs():
    return seeds.specs_of("l1", BASELINES["l1"], "mini", 1)


def test_only_a_run_that_ended_under_the_same_signature_is_used_again(tmp_path, monkeypatch, specs, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seeds.config, "resolve", lambda name, preset: specs[-1])
    now, ran = {"signature": "a"}, []
    monkeypatch.setattr(seeds, "run_signature", lambda specs: now["signature"])

    def run(folder, preset, group, experiment, seed):
        ran.append(seed)
        if now["signature"] == "broken":
            raise InputError("The run failed.")
        write_json(folder / paths.metrics(preset, experiment), dict.fromkeys(PRECISIONS, len(ran) / 10))

    monkeypatch.setattr(seeds, "train_and_score", run)
    assert seeds.one_run("mini", "l1", BASELINES["l1"], 1)["ap"] == 0.1
    assert seeds.one_run("mini", "l1", BASELINES["l1"], 1)["ap"] == 0.1
    assert "(of an earlier run)" in capsys.readouterr().out
    assert seeds.one_run("mini", "l1", BASELINES["l1"], 2)["ap"] == 0.2
    now["signature"] = "broken"
    with pytest.raises(InputError):
        seeds.one_run("mini", "l1", BASELINES["l1"], 1)
    now["signature"] = "b"  # of other code: what was measured is of the old one
    assert seeds.one_run("mini", "l1", BASELINES["l1"], 1)["ap"] == 0.4
    assert ran == [1, 2, 1, 1]


def code(monkeypatch, text):
    """Let this be the code of every stage."""
    monkeypatch.setattr(seed_runs.Closure, "of", lambda closure, module, selected=None: set())
    monkeypatch.setattr(seed_runs.Closure, "lines", lambda closure, modules: [text])


@pytest.fixture
def plain_code(tmp_path, monkeypatch):
    """Stand in an empty folder, where every stage has the same code."""
    monkeypatch.chdir(tmp_path)
    code(monkeypatch, "as it is")


def test_a_signature_holds_seed_options_data_and_weights(plain_code, monkeypatch, specs):
    signature = seed_runs.run_signature
    before = signature(specs)
    assert signature(specs) == before
    assert signature([msgspec.structs.replace(specs[0], name="other")]) != before
    seeded = msgspec.structs.replace(specs[0], preset=msgspec.structs.replace(specs[0].preset, seed=2))
    assert signature([seeded]) != before
    seen = {before}
    for path in (specs[0].manifest, paths.init("mini", specs[0].experiment.init)):
        write_text(path, "first")
        seen.add(signature(specs))
        write_text(path, "second")
        seen.add(signature(specs))
    assert len(seen) == 5
    code(monkeypatch, "edited")
    assert signature(specs) not in seen


def test_weights_that_a_run_makes_itself_are_no_input_of_it(plain_code):
    specs = seeds.specs_of(PRETRAINING, BASELINES[PRETRAINING], "mini", 1)
    assert [spec.name for spec in specs] == ["resnet50", BASELINES[PRETRAINING]]
    before = seed_runs.run_signature(specs)
    write_text(paths.init("mini", "resnet50"), "weights")
    assert seed_runs.run_signature(specs) == before


def test_proposals_are_an_input(plain_code):
    specs = seeds.specs_of("none", BASELINES["none"], "mini", 1)
    before = seed_runs.run_signature(specs)
    write_text(paths.proposals("mini", specs[0].experiment.proposals, "train"), "regions")
    assert seed_runs.run_signature(specs) != before
