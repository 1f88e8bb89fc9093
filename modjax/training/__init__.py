"""The vmapped trainer."""
