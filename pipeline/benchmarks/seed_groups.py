"""Groups of repeated trainings whose spread is measured: the baseline of each, and the metrics that it judges."""

from pipeline.published.columns import MASK, RECALLS
from pipeline.verdicts.results import PRETRAINING

BASELINES = {  # by group; `fitting_groups` says which group judges what
    "fpn": "dst_frcnn_r50_fpn_1x",
    "l1": "msfm_frcnn_r50_fpn_1x",
    "none": "snip_drfcn_r50_7ep_single_scale",
    "c4": "pod_frcnn_r50_c4_1x",
    "dense": "msfm_retinanet_r50_fpn_1x",
    "proposals": "snip_rpn_r50_6ep_ms_train_conv4_5anchor",
    "masks": "dst_mask_rcnn_r50_fpn_1x",
    "voc": "dst_voc_frcnn_r50_fpn_24k",
    PRETRAINING: "psconv_frcnn_r50_fpn_1x",
}
USUAL = ("fpn", "none")  # what a report of detectors needs
PRECISIONS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
METRICS = dict.fromkeys(BASELINES, PRECISIONS) | {
    "proposals": RECALLS,
    "masks": tuple(f"{MASK}{name}" for name in PRECISIONS),
    "voc": ("map", *PRECISIONS),
}
