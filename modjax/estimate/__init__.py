"""Estimates of a sweep's time, memory and disk space, before it starts."""
