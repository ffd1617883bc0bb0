"""Metrics, their intervals, what scores hide, and predictions of trained models."""
