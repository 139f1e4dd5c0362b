"""Intervals as the report judges them, on invented results of known truth: 95 % of them must cover it."""

import numpy as np
import pytest

from pipeline import paths
from pipeline.verdicts.baselines import headline_pairs
from pipeline.verdicts.comparison import judge_gain
from pipeline.verdicts.results import Results

DRAWS = 200
EFFECTS = (0.0, 0.01, 0.02)  # of methods, in turns, as fractions of 1
BLOCK, TRAINING = 0.012, 0.006  # deviations of what all trainings of a block share, and of each alone
IMAGES_SHARED, IMAGES = 0.01, 0.003  # of what all evaluations see on the same test images, and each alone


class Invented(Results):
    """One preset's results, in which every experiment of the headline was trained in so many blocks."""

    def __init__(self, random: np.random.Generator, blocks: int) -> None:
        super().__init__("mini")
        names = dict.fromkeys(name for pair in headline_pairs() for name in pair)
        baselines = {pair[1] for pair in headline_pairs()}
        methods = [name for name in names if name not in baselines]
        self.effects = {name: EFFECTS[place % len(EFFECTS)] for place, name in enumerate(methods)}
        self.effects |= dict.fromkeys(baselines, 0.0)
        shared, seen = random.normal(0, BLOCK, blocks), random.normal(0, IMAGES_SHARED)
        draws = random.normal(0, IMAGES_SHARED, DRAWS)
        trained = {paths.split_evaluation(name)[0]: random.normal(0, TRAINING, blocks) for name in names}
        self.values_of, self.draws_of = {}, {}
        for name in names:
            alone = trained[paths.split_evaluation(name)[0]]
            values = 0.3 + self.effects[name] + shared + alone + seen + random.normal(0, IMAGES)
            self.values_of[name] = values
            self.draws_of[name] = values.mean() + draws + random.normal(0, IMAGES, DRAWS)

    def metrics(self, evaluation):
        found = [{"ap": value, "ap50": 0.5} for value in self.values_of[evaluation]]
        return {"ap": float(self.values_of[evaluation].mean()), "ap50": 0.5, "blocks": found}

    def bootstrap(self, evaluation):
        return {"ap": self.draws_of[evaluation].tolist()}

    def training(self, experiment):
        return {"steps": 580, "collage_share": 0.5, "valid_objects": {"800": 0.5}}

    def scales(self, experiment):
        return {"largest_shift": 1.0, "layers": {}}


@pytest.mark.parametrize(("blocks", "reports"), [(8, 500), (3, 150)])
def test_intervals_of_whole_reports_cover_the_truth(blocks, reports):
    random = np.random.default_rng(blocks)
    covered, decided, of_none = [], [], []
    for _ in range(reports):
        results = Invented(random, blocks)
        for name, baseline in headline_pairs():
            told = judge_gain(results, name, baseline, "ap", None).judged
            truth = 100 * (results.effects[name] - results.effects[baseline])
            covered.append(told.low <= truth <= told.high)
            (of_none if truth == 0 else decided).append(told.word.decided)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(of_none) <= 0.07  # decided by chance alone
    assert np.mean(decided) > 2 * np.mean(of_none)
