"""Figures, statistics and pages made from a sweep's tables."""
