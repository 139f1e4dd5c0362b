"""How calls are timed, measured and profiled."""
