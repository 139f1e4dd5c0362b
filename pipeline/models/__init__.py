"""Detectors and classifiers; `build.py` maps a specification to one of them."""

from pipeline.models.build import build_classifier, build_detector

__all__ = ["build_classifier", "build_detector"]
