"""Combinations of several papers' methods: one recipe for all, and the parts that their names say."""

import pytest
from msgspec.structs import replace

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.verdicts.methods import BASE, COMBINATIONS, LONGER, SINGLES


def test_combinations_share_the_recipe_of_their_baseline_and_hold_the_parts_that_they_name():
    """Each part's layers or feeding stand in the combination as they stand in the part alone."""
    base = config.resolve(BASE, "full")
    parts = {pair.name: config.resolve(pair.evaluation, "full").experiment.method for pair in SINGLES}
    plain = base.experiment.method
    used = set()
    for pair, names in COMBINATIONS:
        spec = config.resolve(pair.evaluation, "full")
        assert (spec.recipe, spec.paper) == (base.recipe, paths.COMBINATIONS)
        assert pair.baseline == (LONGER if "POD FD-WT" in names else BASE)
        for key in ("global_scale", "decomposed", "psconv", "fusion", "collage", "snip", "short_sides"):
            found, wanted = getattr(spec.experiment.method, key), [getattr(parts[name], key) for name in names]
            changed = [value for value in wanted if value != getattr(plain, key)]
            assert found == (changed[0] if changed else getattr(plain, key)), (pair.name, key)
        used.add(pair.evaluation)
    singles = {pair.evaluation for pair in SINGLES}
    assert used | singles - {f"{BASE}_psconv"} | {LONGER} == set(config.combinations())


def test_the_longer_baseline_is_the_plain_one_for_twice_as_long():
    longer, base = config.resolve(LONGER, "full"), config.resolve(BASE, "full")
    assert replace(longer.experiment, length=1.0, notes=base.experiment.notes) == base.experiment
    assert longer.experiment.length == 2.0
    assert longer.recipe == base.recipe


def test_an_unknown_combination_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'combo_frcnn_r50_fpn_1x_psconv_dst'"):
        config.resolve("combo_frcnn_r50_fpn_1x_psconv_dts", "mini")
