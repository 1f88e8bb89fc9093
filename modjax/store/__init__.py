"""A sweep's directory: its paths, tables, manifest and stacks of weights; :class:`modjax.Sweep` reads it."""
