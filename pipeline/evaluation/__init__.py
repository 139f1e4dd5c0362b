"""Evaluation: COCO metrics, their bootstrap, proposal recall, soft-NMS and merging of image pyramids."""

from pipeline.lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "bootstrap_ap": "bootstrap",
        "bootstrap_voc": "voc",
        "contributions_of": "contributions",
        "evaluate_detections": "coco",
        "evaluate_voc": "voc",
        "estimate": "intervals",
        "joint_draws": "bootstrap",
        "mean_draws": "bootstrap",
        "merge_pyramid": "pyramid",
        "paired_interval": "intervals",
        "scaled_area_ranges": "protocol",
        "scaled_size_ranges": "proposals",
        "soft_nms": "suppression",
    },
)
