"""What is computed from a finished trial: matrices, modules, alignment."""
