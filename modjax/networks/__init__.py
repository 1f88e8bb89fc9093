"""Networks: the common interface and the architectures."""
