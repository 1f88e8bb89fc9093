"""Export of finished trials to experiment trackers."""
