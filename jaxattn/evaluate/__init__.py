"""Metrics, predictions of trained models, and the TF-IDF baseline."""
