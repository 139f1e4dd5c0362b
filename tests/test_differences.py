"""Differences from the papers: sentences and structured entries alike, a recipe's where they concern an experiment."""

import msgspec
import pytest

from pipeline import config, differences
from pipeline.errors import InputError
from pipeline.options import Difference, Notes
from pipeline.reporting.differences_page import bullet, recipes_sections
from pipeline.verdicts.results import load_experiment


def test_a_sentence_alone_is_a_difference_of_which_nothing_more_is_known():
    given = {"row": "t1", "differs": ["a sentence", {"what": "another", "effect": "none", "keys": ["recipe.lr"]}]}
    notes = config.converted(given, Notes, "one.yaml")
    assert differences.entries(notes.differs) == [
        Difference("a sentence"),
        Difference("another", effect="none", keys=("recipe.lr",)),
    ]


def test_a_misspelt_key_of_a_difference_is_named():
    with pytest.raises(InputError, match=r"one.yaml: differs: 0: unknown key 'efect'; did you mean 'effect'"):
        config.converted({"row": "t1", "differs": [{"what": "a", "efect": "none"}]}, Notes, "one.yaml")


def test_a_recipes_differences_come_first_and_only_where_they_concern(monkeypatch):
    shared = (Difference("of all"), Difference("of collages", of=("*_dst",)))
    recipe = msgspec.structs.replace(
        config.load_recipe(config.paths.ROOT / "workflow/schedules/dst.yaml"), differs=shared
    )
    monkeypatch.setattr(differences, "load_recipe", lambda name: recipe)
    experiment = load_experiment("dst_frcnn_r50_fpn_1x_dst_random")
    own = differences.entries(experiment.notes.differs)
    assert own
    found = differences.differences("dst_frcnn_r50_fpn_1x_dst_random", experiment)
    assert found == [Difference("of all"), *own]
    assert differences.of_recipe("dst_frcnn_r50_fpn_1x_dst", "dst") == list(shared)


def test_differences_decide_no_result():
    from pipeline.settings import reads

    assert not any(reads(script, "recipe.differs.0.what") for script in ("train", "pretrain", "predict", "evaluate"))


def test_the_page_says_reason_effect_options_and_whom_it_concerns():
    entry = Difference("the rate is half", effect="none", keys=("recipe.lr",), of=("*_dst",))
    assert bullet(entry, " In all.") == "- The rate is half. Expected effect: none. Options: `recipe.lr`. In all.\n"
    assert bullet(Difference("a choice"), "") == "- A choice. Expected effect: not known.\n"
    names = ("msfm_frcnn_r50_fpn_1x", "msfm_frcnn_r50_fpn_1x_msfm_pos3_s3s_r16_32_64_g4_c1_add")
    text = recipes_sections(["msfm"], {name: load_experiment(name) for name in names})
    assert text.startswith("\n### Recipe `msfm`\n\n2 experiments, by [`msfm`](../workflow/schedules/msfm.yaml).\n")
    assert "Concerns `*_msfm*` (1 of them).\n" in text


def test_what_several_recipes_share_stands_once_on_the_page():
    names = ("dst_frcnn_r50_fpn_1x", "dst_voc_frcnn_r50_fpn_24k")
    loaded = {name: load_experiment(name) for name in names}
    both = [entry.what for entry in differences.entries(differences.load_recipe("dst").differs)]
    shared = [
        entry.what for entry in differences.entries(differences.load_recipe("dst_voc").differs) if entry.what in both
    ]
    assert shared
    text = recipes_sections(["dst", "dst_voc"], loaded)
    assert text.index("### Recipes `dst` and `dst_voc`") < text.index("### Recipe `dst`\n")
    assert all(text.count(what[1:]) == 1 for what in shared)
