"""Figures from the tables."""
