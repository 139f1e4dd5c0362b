"""One file an optimiser, named as recipes and presets name it (`optimizer: NAME`), with `build(groups, lr, recipe)`."""
