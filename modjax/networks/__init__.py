"""Networks: the contract and the architectures."""
