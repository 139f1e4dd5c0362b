"""What a detector would ignore is refused when it is built, in one sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import tiny

from pipeline.errors import InputError
from pipeline.models import build_detector
from pipeline.options import Method, ProposalNetwork, PSConvOptions, RegionClassifier, SnipOptions
from pipeline.spec import Spec


def changed(experiment: str = "msfm_frcnn_r50_fpn_1x", **changes: Any) -> Spec:
    found = tiny.spec(experiment)
    return msgspec.structs.replace(found, experiment=msgspec.structs.replace(found.experiment, **changes))


RPN = "snip_rpn_r50_6ep_snip_conv45_7anchor"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (changed(neck="c4", detector="retinanet"), "a retinanet has neck fpn, not 'c4'; write `neck: fpn`"),
        (changed(neck="none"), "a faster_rcnn has neck fpn or c4, not 'none'; write `neck: fpn`"),
        (changed(RPN, neck="fpn"), "a d_rfcn_rpn has neck none, not 'fpn'; write `neck: none`"),
        (changed(RPN, method=Method(small_loss_reweight=True)), "small_loss_reweight acts on detections' losses"),
        (changed(method=Method(snip=SnipOptions())), "snip reads the ranges of a pyramid, and there is none"),
        (changed(neck="c4", method=Method(psconv=PSConvOptions(neck=True))), "psconv.neck replaces convolutions"),
        (changed(region=RegionClassifier()), "`region` has options of a d_rfcn_rcn, and this is a faster_rcnn"),
        (changed(rpn=ProposalNetwork()), "`rpn` has options of a d_rfcn_rpn, and this is a faster_rcnn"),
    ],
)
def test_what_would_be_ignored_is_refused(spec, sentence):
    with pytest.raises(InputError) as caught:
        build_detector(spec, 3)
    message = str(caught.value)
    assert sentence in message
    assert message.startswith(spec.name)
    assert message.count(". ") == 0
    assert message.endswith(".")


def test_an_init_needs_its_second_backbone():
    with pytest.raises(ValueError, match="second_init 'resnet101' starts a second_backbone, and none is named"):
        RegionClassifier(second_init="resnet101")
