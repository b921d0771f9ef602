"""Nearest-neighbour search, exact and blocked, and the index of descriptors on disk."""
