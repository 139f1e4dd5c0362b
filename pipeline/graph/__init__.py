"""The graph seen from outside: what dvc.yaml files declare, a driver for both doors, and the check that they agree."""
