"""What the headline of a report rests on: the experiments of its rows, and all that these are trained from."""

from functools import cache

from pipeline import config, paths
from pipeline.options import Experiment
from pipeline.published.rows import load_rows

COMBINED = "combo_frcnn_r50_fpn_1x_msfm_dst"  # what two of the methods give together: in no paper's table


@cache
def rests_on() -> frozenset[str]:
    """Return the experiments and inits behind the headline's rows, themselves included."""
    tables = [load_rows(paper).headline for paper in paths.PAPERS]
    waiting = [COMBINED]
    waiting += [paths.split_evaluation(name)[0] for paper in tables for names in paper.values() for name in names]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if not (paths.ROOT / paths.experiment_file(name)).is_file():  # an init that a GSL experiment is decomposed into
            name = name.removesuffix("_wt").removesuffix("_fd")
        if name not in seen and name != "none":
            seen.add(name)
            experiment = config.load(paths.ROOT / paths.experiment_file(name), Experiment)
            second = experiment.region and experiment.region.second_init
            waiting += [one for one in (experiment.init, experiment.proposals, second) if one]
    return frozenset(seen)
