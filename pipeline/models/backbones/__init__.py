"""Backbones and the papers' layers inside them."""
