"""What the page of methods compares: every method over its own baseline, and combinations that no paper tried."""

from dataclasses import dataclass

from pipeline.verdicts.comparison import Gain, judge_gain
from pipeline.verdicts.results import Results

METRICS = ("ap", "ap_small", "ap_medium", "ap_large")
BASE = "psconv_frcnn_r50_fpn_1x"  # of all combinations, trained by the same recipe
LONGER = "combo_frcnn_r50_fpn_2x"  # of those with FD-WT, which two trainings stand behind, as POD's table 5 compares it
PSCONV = f"{BASE}_psconv"
COMBO, SNIP = "combo_frcnn_r50_fpn_1x", "snip_drfcn_r50_7ep"


@dataclass(frozen=True)
class Pair:
    """An evaluation and the one that its gain is over."""

    name: str
    evaluation: str
    baseline: str
    extra: str = ""  # what the method costs besides its network and its training


# each inside its own paper's recipe
METHODS = (
    Pair("POD FD", "pod_frcnn_r50_fpn_1x_fd", "pod_frcnn_r50_fpn_1x", "the training that learns the scales"),
    Pair("POD FD-WT", "pod_frcnn_r50_fpn_1x_fd_wt", "pod_frcnn_r50_fpn_2x", "the training that learns the scales"),
    Pair("DST", "dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x", "four images read for one collage"),
    Pair("MSFM", "msfm_frcnn_r50_fpn_1x_msfm", "msfm_frcnn_r50_fpn_1x"),
    Pair("SNIP", f"{SNIP}_snip__ms_test", f"{SNIP}_single_scale__ms_test", "three resolutions, in training and test"),
    Pair("PSConv", PSCONV, BASE),
)
# one recipe for all: its single methods first, so that a combination can be set against its parts
SINGLES = (
    Pair("PSConv", PSCONV, BASE),
    Pair("DST", f"{COMBO}_dst", BASE),
    Pair("MSFM", f"{COMBO}_msfm", BASE),
    Pair("POD FD-WT", f"{COMBO}_fd_wt", LONGER),
)
COMBINATIONS = (
    (Pair("PSConv + DST", f"{COMBO}_psconv_dst", BASE), ("PSConv", "DST")),
    (Pair("MSFM + DST", f"{COMBO}_msfm_dst", BASE), ("MSFM", "DST")),
    (Pair("PSConv + MSFM + DST", f"{COMBO}_psconv_msfm_dst", BASE), ("PSConv", "MSFM", "DST")),
    (Pair("POD FD-WT + DST", f"{COMBO}_fd_wt_dst", LONGER), ("POD FD-WT", "DST")),
    (Pair("POD FD-WT + MSFM + DST", f"{COMBO}_fd_wt_msfm_dst", LONGER), ("POD FD-WT", "MSFM", "DST")),
)


@dataclass(frozen=True)
class Compared:
    """A pair with its gains by metric."""

    pair: Pair
    ap: float | None  # fraction of 1, the mean over blocks
    gains: dict[str, Gain]

    @property
    def blocks(self) -> int:
        return self.gains["ap"].blocks


def compare_pair(results: Results, pair: Pair) -> Compared:
    """Return the gains of a pair; the paper prints none of them, so they are decided up, down, or not."""
    metrics = results.metrics(pair.evaluation)
    gains = {m: judge_gain(results, pair.evaluation, pair.baseline, m, None) for m in METRICS}
    return Compared(pair, (metrics or {}).get("ap"), gains)


def best_part(singles: list[Compared], parts: tuple[str, ...]) -> Compared | None:
    """Return the single method of highest AP among a combination's parts; None where one of them was not run."""
    found = [single for single in singles if single.pair.name in parts]
    if any(single.ap is None for single in found):
        return None
    return max(found, key=lambda single: single.ap)
