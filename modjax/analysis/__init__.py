"""Analysis of finished trials: matrices, modules, alignment."""
