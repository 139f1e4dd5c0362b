"""Detector families, one module each."""
