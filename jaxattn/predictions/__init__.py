"""Saved predictions: their file, and what they tell with which certainty."""
