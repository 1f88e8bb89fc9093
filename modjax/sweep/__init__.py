"""Sweeps: a spec in, tables out."""
