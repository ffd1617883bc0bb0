"""Reformer LSH attention (Kitaev et al. 2020)."""
