"""Files: atomic writes, locks, checksums, untrusted input and trees of arrays; independent of sweeps."""
