"""Prediction: detections, proposals, masks and searched ranges of a trained detector, and its export."""
