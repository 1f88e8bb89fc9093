"""Memory, threads, signals, pixels and random words: used everywhere, part of nothing."""
