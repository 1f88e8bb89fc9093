"""What a sweep will take: time, memory and disk, before it starts."""
