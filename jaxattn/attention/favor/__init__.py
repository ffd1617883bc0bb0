"""Performer FAVOR+ attention (Choromanski et al. 2021)."""
