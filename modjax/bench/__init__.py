"""Benchmarks of speed, memory and accuracy that come with the package."""
