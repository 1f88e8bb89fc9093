"""Modules of a graph, their quality, and how well two partitions agree. Never imports JAX."""
