"""Datasets on the host, and batches on the device."""
