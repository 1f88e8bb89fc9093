"""Files: atomic writes and locks, checksums, input that nobody vouches for, trees of arrays. Knows no sweep."""
