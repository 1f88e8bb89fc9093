"""Is a directory what was written? Damage, recovery, verification, compatibility, forks."""
