"""For torch.hub: `torch.hub.load(REPOSITORY, "detector", FOLDER)` gives a released detector (docs/detectors.md)."""

from pipeline.prediction.released import load as detector  # noqa: F401

dependencies = ["torch", "torchvision", "safetensors", "msgspec", "numpy", "PIL", "yaml", "tqdm", "pycocotools"]
