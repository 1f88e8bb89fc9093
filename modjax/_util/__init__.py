"""Utilities used throughout the package: memory, threads, signals, pixels and random words."""
