"""Parts of detectors: proposals, RoI heads, dense heads, their pooling and matching."""
