"""Batch number `step` as arrays."""
