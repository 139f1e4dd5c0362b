"""He's start of a detector's new layers: those that no pre-trained backbone holds (POD, section 4.1)."""

from __future__ import annotations

from torch import nn

PRETRAINED = ("backbone.body.", "roi_heads.box_head.layer4.")  # where a backbone's stages stand in a detector
OUTPUTS = ("cls_logits", "bbox_pred", "cls_score", "logits", "deltas")  # layers that predict scores and boxes


def start_new_layers(model: nn.Module) -> None:
    """Draw the weights of new hidden layers normally with variance 2 / inputs (He et al., 2015); biases start at 0.

    Differs from the paper, which names this start for all new parameters: layers that predict start small, as their
    families do, because focal loss needs the prior of its scores and no rectifier follows them.
    """
    for name, module in model.named_modules():
        hidden = isinstance(module, nn.Conv2d | nn.Linear) and not name.startswith(PRETRAINED)
        if hidden and name.rpartition(".")[2] not in OUTPUTS:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
