"""Compares runs from their folders: tables, a plot, the cost and quality criteria."""
