"""What a sweep is, before anything runs: the spec, its trials, and the context that all trials share."""
