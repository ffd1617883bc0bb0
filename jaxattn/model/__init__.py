"""Flax Linen modules: embeddings, attention layer, encoder, heads. Thin: shapes and parameters."""
