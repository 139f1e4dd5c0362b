"""Figures of the reports, each with its data."""
