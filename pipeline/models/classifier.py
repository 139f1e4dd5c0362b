"""Image classifier: a backbone, the mean over positions, and one linear layer."""

from torch import Tensor, nn

from pipeline.models.backbones.build import build_backbone
from pipeline.models.backbones.stems import replace_stem
from pipeline.spec import Spec


class Classifier(nn.Module):
    """Backbone `body`, the mean over positions, and a linear layer under torchvision's name `fc`."""

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__()
        self.body = body
        self.fc = nn.Linear(body.out_channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [N, 3, H, W] to logits [N, classes]."""
        features = self.body(images)[str(self.body.stages - 1)]
        return self.fc(features.mean(dim=(2, 3))).float()


def build_resnet_classifier(spec: Spec, classes: int = 1000) -> Classifier:
    """Build the classifier of a specification; batch norm learns its statistics here."""
    experiment = spec.experiment
    body = build_backbone(experiment.backbone, spec.preset.model, spec.recipe.norm, experiment.method)
    replace_stem(body, experiment.stem)
    return Classifier(body, classes)
