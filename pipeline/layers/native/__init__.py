"""PSConv's optional C++ kernel for CPUs: `python -m pipeline.layers.native` builds it, and `PSConv2d` then uses it."""
