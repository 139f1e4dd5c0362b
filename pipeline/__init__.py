"""Scalewise: five papers on scale variance in object detection, rebuilt as one pipeline."""
