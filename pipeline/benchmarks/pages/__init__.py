"""Pages of the benchmarks, each from its JSON alone."""
