"""Datasets on the host, batches on the device."""
