"""ScaleWorld, the rendered data set of the small presets."""
