"""Published ImageNet weights, from torchvision's or timm's own loaders."""

from torch import Tensor

from pipeline.errors import InputError

PUBLISHED = {  # backbone -> (library, its name of the weights)
    "resnet50": ("torchvision", "IMAGENET1K_V1"),
    "resnet101": ("torchvision", "IMAGENET1K_V1"),
    "resnext50_32x4d": ("torchvision", "IMAGENET1K_V1"),
    "resnext101_32x8d": ("torchvision", "IMAGENET1K_V1"),
    "resnext101_32x4d": ("timm", "resnext101_32x4d.gluon_in1k"),
    "se_resnet50": ("timm", "seresnet50.ra2_in1k"),
    "dpn92": ("timm", "dpn92.mx_in1k"),
    "dpn98": ("timm", "dpn98.mx_in1k"),
}
CLASSIFIERS = ("fc.", "classifier.")  # their tensors belong to no backbone


def published_source(backbone: str) -> str:
    """Return where a backbone's published ImageNet weights come from, for reports.

    Raises:
        InputError: none are published for this backbone.
    """
    if backbone not in PUBLISHED:
        raise InputError(
            f"No ImageNet weights are published for backbone {backbone!r}, only for {sorted(PUBLISHED)}; pre-train it "
            "(`init_source: pretrain` in the preset)."
        )
    return " ".join(PUBLISHED[backbone])


def published_state(backbone: str) -> dict[str, Tensor]:
    """Return a backbone's published ImageNet weights under this project's names, without their classifier.

    Both libraries verify their downloads and load tensors only.

    Raises:
        InputError: no weights are published for this backbone, or they could not be fetched.
    """
    source = published_source(backbone)
    library, name = PUBLISHED[backbone]
    try:
        state = torchvision_state(backbone, name) if library == "torchvision" else timm_state(name)
    except (OSError, RuntimeError) as error:  # no network, a broken download
        reason = " ".join(str(error).split())
        raise InputError(
            f"The weights of {source} for {backbone} could not be fetched ({reason}); connect, or put them into the "
            "library's cache."
        ) from error
    return {key: tensor for key, tensor in state.items() if not key.startswith(CLASSIFIERS)}


def torchvision_state(backbone: str, name: str) -> dict[str, Tensor]:
    """Fetch one of torchvision's classifiers."""
    from torchvision.models import get_model_weights

    return get_model_weights(backbone)[name].get_state_dict(progress=True, check_hash=True, weights_only=True)


def timm_state(name: str) -> dict[str, Tensor]:
    """Fetch one of timm's classifiers; timm reads safetensors, or other files as tensors only."""
    import timm

    return timm.create_model(name, pretrained=True).state_dict()
