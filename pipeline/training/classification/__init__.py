"""Trainings of image classifiers."""
