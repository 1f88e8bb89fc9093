"""Benchmarks that come with the package: how fast, how large, how exact."""
