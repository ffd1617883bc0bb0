"""Exact attention within a window of neighbours (Beltagy, Peters and Cohan 2020, Longformer)."""
