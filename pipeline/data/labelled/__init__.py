"""Labelled images of classifiers."""
