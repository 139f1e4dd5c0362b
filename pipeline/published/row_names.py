"""Names of printed rows that can be told apart: papers print one label under several headings of a table."""

from collections.abc import Sequence
from typing import Any

DETECTORS = {
    "faster_rcnn": "Faster R-CNN",
    "mask_rcnn": "Mask R-CNN",
    "cascade_rcnn": "Cascade R-CNN",
    "cascade_mask_rcnn": "Cascade Mask R-CNN",
    "retinanet": "RetinaNet",
    "fcos": "FCOS",
    "reppoints": "RepPoints",
    "d_rfcn_rcn": "Deformable R-FCN, classifier of given regions",
    "d_rfcn_rpn": "Deformable R-FCN, region proposals",
}
NECKS = {"c4": "C4", "fpn": "FPN"}
METHODS = {"baseline": "plain", "msfm": "MSFM"}
HEADINGS = ("detector", "backbone", "neck", "dcn", "method", "schedule")  # what papers print once for several rows


def headings(labels: Sequence[str], factors: Sequence[dict[str, Any]]) -> list[str]:
    """Return for each row (printed label and factors) what tells it from others of its label; empty where none does."""
    found = []
    for label, own in zip(labels, factors, strict=True):
        same = [other for name, other in zip(labels, factors, strict=True) if name == label]
        apart = [key for key in HEADINGS if len({str(other.get(key)) for other in same}) > 1]
        found.append(", ".join(word for key in apart if (word := _word(key, own.get(key)))))
    return found


def _word(key: str, value: Any) -> str:
    if key == "dcn":
        return "DCN" if value else ""
    if key == "backbone":
        return str(value).replace("resnext", "X").replace("resnet", "R").replace("_", "-")
    return {"detector": DETECTORS, "neck": NECKS, "method": METHODS}.get(key, {}).get(value, str(value))
