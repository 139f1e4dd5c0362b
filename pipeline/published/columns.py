"""What the columns of the papers' tables hold: their names, and the kind that says by which rule each is judged.

Four kinds, each with a rule of its own, which every table states:

- `score`: AP, AR, recall, mean AP in percent; higher is better, gains are judged with their interval.
- `error`: top-1 and top-5 error in percent; lower is better, so a gain is the baseline's error minus the method's.
- `count`: parameters and multiply-adds; a network has them or not, so they are compared with what is printed.
- `time`: milliseconds an image and hours of training; they belong to a machine, so only ratios are compared.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["score", "error", "count", "time", "other"]

MASK = "mask_"  # in front of a metric's name: of masks in the place of boxes
METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
RECALLS = ("ar", "ar50", "ar75", "recall50_0_25", "recall50_25_50", "recall50_50_100")  # of proposals
ERRORS = ("top1_err", "top5_err")
COUNTS = {"params_m": "parameters, M", "gflops": "multiply-adds, G"}
TIMES = {"ms_per_image": "ms an image", "hours": "hours of training"}
DEVIATION = "_std"  # behind a metric's name: its printed deviation, no metric of its own

NAMES = {metric: metric.replace("ap", "AP").replace("_", " ") for metric in METRICS}
NAMES |= {f"{MASK}{metric}": f"mask {name}" for metric, name in NAMES.items()}
NAMES |= {"map": "mAP", "ar": "AR", "ar50": "AR50", "ar75": "AR75"}
NAMES |= {metric: f"Recall50, {'-'.join(metric.split('_')[1:])} px" for metric in RECALLS[3:]}
NAMES |= {"ar_100_up": "AR, 100 px and more"}  # of a claim alone
NAMES |= {"top1_err": "Top-1 error", "top5_err": "Top-5 error", **COUNTS, **TIMES}


def kind_of(column: str) -> Kind:
    """Return the kind of a column; `other` where no rule compares it (learnt scales, printed deviations)."""
    if column.endswith(DEVIATION):
        return "other"
    if column in ERRORS:
        return "error"
    if column in COUNTS:
        return "count"
    if column in TIMES:
        return "time"
    return "score" if column in NAMES or column.startswith(("ap50_", "ap_")) else "other"


def name_of(column: str) -> str:
    """Return a column's name for readers: `AP50 bottle` for `ap50_bottle`."""
    return NAMES.get(column) or column.replace("ap50_", "AP50 ").replace("_", " ")


def sign_of(column: str) -> int:
    """Return -1 for a column in which lower is better, else 1."""
    return -1 if kind_of(column) in ("error", "time") else 1
