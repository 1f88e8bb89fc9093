"""Finished trials for experiment trackers."""
