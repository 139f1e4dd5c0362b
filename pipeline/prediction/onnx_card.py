"""The paragraph of a model card on `detector.onnx`: what the file takes and gives, how it was checked, or why none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.spec import Spec

EXAMPLE = """```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("detector.onnx")
picture = {picture}.convert("RGB")
scale = min({short:g} / min(picture.size), {long:g} / max(picture.size))
small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BILINEAR)
image = np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255
boxes, labels, scores = session.run(None, {{"image": image}})
boxes = boxes * np.tile(np.divide(picture.size, small.size), 2)  # in the picture's pixels
```
"""


def onnx_section(onnx: Mapping[str, Any], spec: Spec, stored: bool, levels: float) -> str:
    """Return the paragraph with its heading.

    Args:
        onnx: what `pipeline.prediction.whole.export_whole` returned.
        spec: the experiment.
        stored: pictures with an EXIF orientation were trained on as they are stored.
        levels: how many grey levels of 16-bit and float files became 256.
    """
    if "left_out" in onnx:
        return f"## ONNX\n\n`detector.onnx` is left out: {onnx['left_out']}.\n\n"
    size, check = spec.preset.model, onnx["check"]
    text = "## ONNX\n\n`detector.onnx` is the whole detector with its suppression, in fp32. It takes `image`, float32 "
    text += f"[3, height, width], RGB in 0-1, resized as the test `{onnx['test']}` does it: a short side of "
    text += f"{onnx['short_side']:g} pixels, or less where the long side would exceed {onnx['long_side']:g}, bilinear "
    text += "and with antialiasing where that shrinks. It gives `boxes` [D, 4] (x1, y1, x2, y2 in that image's pixels)"
    text += ", `labels` [D] from 1 and `scores` [D], best first: at most "
    text += f"{size.detections}, from the score threshold {size.score_threshold:g} on; D is 0 where nothing is found. "
    text += "It has no masks. " if spec.experiment.has_masks else ""
    text += f"On {check['pictures']} validation pictures ONNX Runtime's detections differed from PyTorch's by at most "
    text += f"{check['largest']:g} (pixels and scores; {check['detections']} detections of both together)"
    if check["stray"]:
        text += f", but for {check['stray']}, which rounding at a threshold exchanged"
    if not check["detections"]:
        text += ", so that nothing was compared"
    opened = 'Image.open("image.jpg")' if stored else 'ImageOps.exif_transpose(Image.open("image.jpg"))'
    example = EXAMPLE.format(short=onnx["short_side"], long=onnx["long_side"], picture=opened)
    text += f".\n\n{example}\nPictures of more than 8 bits are multiplied by 256 / {levels:g} and cut to 0-255 first, "
    return f"{text}which `.convert` does not do.\n\n"
